"""The edge at home: a week offline, a changed battery, a shared and lent cuff, an hour at a kiosk; told over real MQTT.

Who is told, whose it is and on which day it lies, when meters behave as meters do.
"""
import datetime
import random

import paho.mqtt.client as mqtt
import pytest
from house import House, pressure
from pki import certificates

NOW = datetime.datetime.fromisoformat("2026-03-02T08:00:00+08:00")


def week():
    """Seven days until now, two readings morning and evening: 28. One crisis on the first day, a confirmed one just now."""
    readings = []
    for day in range(7):
        morning = NOW.replace(hour=7, minute=35) - datetime.timedelta(days=6 - day)
        for at in (morning - datetime.timedelta(hours=12), morning - datetime.timedelta(hours=12, minutes=-5), morning, morning + datetime.timedelta(minutes=5)):
            seq = len(readings) + 1
            value = (186, 112) if seq in (3, 27, 28) else (126 + seq % 5, 80 + seq % 3)
            readings.append(pressure(seq, at.isoformat(), *value))
    return readings


def chart(house, patient):
    return sorted((r["measuredAt"], r["systolic"], r["diastolic"]) for r in house.readings(patient))


def figures(house, patient):
    query = "from=2026-02-20T00:00:00%2B08:00&to=2026-03-03T00:00:00%2B08:00"
    return {k: v for k, v in house.ask("GET", f"/api/v1/patients/{patient}/summary?{query}").items() if k not in ("asOf", "patientId", "id")}


def test_a_week_offline_is_one_page_one_note_and_the_chart_of_a_week_live(house):
    patient, meter = house.patient()
    buffer = week() * 2
    random.Random(1).shuffle(buffer)
    for n in range(0, len(buffer), 7):
        meter.send(*buffer[n:n + 7])
    house.advance("PT0S")
    assert sorted(house.sink.people()) == ["gp", "manager"], "one page for the crisis of twenty minutes ago"
    found = [f for f in house.ask("GET", f"/api/v1/patients/{patient}/findings?rule=BP-C1")["items"] if not f["retractedAt"]]
    notes = [f for f in found if f["verdict"] == "note"]
    assert len(notes) == 1 and notes[0]["effectiveAt"].startswith("2026-02-24"), "the crisis of the first day is a note on the chart"
    assert [f["severity"] for f in found if f["verdict"] == "page"].count("critical") == 1
    with House(clock="2026-02-23T19:00:00+08:00") as live:
        other, daily = live.patient()
        for reading in week():
            wait = datetime.datetime.fromisoformat(reading["time"]) - datetime.datetime.fromisoformat(live.clock)
            live.advance(f"PT{int(wait.total_seconds())}S")
            assert daily.send(reading)[0]["result"] == "stored"
        live.advance(f"PT{int((NOW - datetime.datetime.fromisoformat(live.clock)).total_seconds())}S")
        assert chart(live, other) == chart(house, patient) and len(chart(house, patient)) == 28
        assert figures(live, other) == figures(house, patient)


def test_a_changed_battery_and_a_journey_put_no_reading_on_a_wrong_day():
    with House(config='[ingest]\nreset_days = { "bp-a" = "2016-01-01" }\n') as house:
        patient, _ = house.patient(bound=False)
        device = house.ask("POST", "/api/v1/devices", {"kind": "blood_pressure", "model": "bp-a"})
        house.ask("POST", f"/api/v1/devices/{device['id']}/bindings", {"patientId": patient, "from": "2015-01-01T00:00:00+08:00"})
        meter = house.meter(device["id"], device["secret"])
        assert meter.send(pressure(1, "2026-03-02T07:30:00", 126, 80))[0]["result"] == "stored"
        # The battery is changed; the clock begins at the model's day. Measured now, sent now: it is of now.
        assert meter.send(pressure(2, "2016-01-01T00:03:00", 128, 82))[0]["result"] == "stored"
        # A crisis from the meter's memory, of a clock that nobody can set right: held, and nobody is woken for it.
        held = meter.send(pressure(3, "2016-01-01T00:01:00", 191, 118), historical=True)[0]
        assert (held["result"], held["reasons"]) == ("quarantined", ["clock"])
        house.advance("PT10M")
        # The clock was set; then the phone that reads the meter goes west, with its offset, and without.
        assert meter.send(pressure(4, "2026-03-02T08:09:00", 127, 81))[0]["result"] == "stored"
        house.advance("PT10M")
        assert meter.send(pressure(5, "2026-03-02T06:19:00+06:00", 125, 79))[0]["result"] == "stored"
        house.advance("PT10M")
        pair = {"device": "2026-03-02T06:30:00", "reference": "2026-03-02T08:30:00+08:00"}
        west = meter.send(pressure(6, "2026-03-02T06:29:00", 189, 117), clock=pair)[0]
        assert (west["result"], west["reasons"]) == ("flagged", ["zone_suspect"]), "two whole hours are never shifted in silence"
        shown = {r["systolic"]: (r["measuredAt"], r["timeQuality"]) for r in house.readings(patient)}
        assert shown == {
            126: ("2026-03-02T07:30:00+08:00", "assumed"),
            128: ("2026-03-02T08:00:00+08:00", "received"),
            127: ("2026-03-02T08:09:00+08:00", "assumed"),
            125: ("2026-03-02T08:19:00+08:00", "exact"),
            189: ("2026-03-02T06:29:00+08:00", "assumed"),
        }
        house.advance("PT1H")
        assert house.sink.people() == [], "nobody is paged on a time that may be wrong"


def test_a_couples_cuff_is_lent_on_and_its_memory_finds_its_way_home(house):
    wife, husband, neighbour = (house.patient(name, bound=False)[0] for name in ("Wife", "Husband", "Next home"))
    device = house.ask("POST", "/api/v1/devices", {"kind": "blood_pressure"})
    bind = lambda patient, **when: house.ask("POST", f"/api/v1/devices/{device['id']}/bindings", {"patientId": patient, **when})
    for slot, who in ((1, wife), (2, husband)):
        bind(who, userSlot=slot, **{"from": "2026-02-01T00:00:00+08:00", "to": "2026-03-02T07:00:00+08:00"})
    bind(neighbour, **{"from": "2026-03-02T07:30:00+08:00"})
    meter = house.meter(device["id"], device["secret"])
    # In the next home: its first reading, and with it what the cuff still has of the couple, and of the way between.
    results = meter.send(
        pressure(101, "2026-03-02T06:20:00+08:00", 188, 114, userSlot=1),
        pressure(102, "2026-03-02T06:25:00+08:00", 187, 113, userSlot=1),
        pressure(103, "2026-03-02T06:30:00+08:00", 121, 77, userSlot=2),
        pressure(104, "2026-03-02T07:15:00+08:00", 190, 116, userSlot=1),
        pressure(105, "2026-03-02T07:50:00+08:00", 132, 84))
    assert [r["result"] for r in results] == ["stored"] * 5
    house.advance("PT0S")
    values = lambda patient: [row[1] for row in chart(house, patient)]
    assert (values(wife), values(husband), values(neighbour)) == ([188, 187], [121], [132])
    assert [u["systolic"] for u in house.ask("GET", "/api/v1/unassigned")["items"]] == [190], "on the way between it is nobody's"
    assert sorted(house.sink.people()) == ["gp", "manager"]
    alerts = lambda patient: house.ask("GET", f"/api/v1/alerts?patient={patient}&state=all")["items"]
    assert [len(alerts(p)) for p in (wife, husband, neighbour)] == [1, 0, 0], "the alert is the wife's alone"
    custody = house.ask("GET", f"/api/v1/devices/{device['id']}/bindings")["items"]
    assert {(b["patientId"], b.get("userSlot")) for b in custody} == {(wife, 1), (husband, 2), (neighbour, None)}, "and everybody can see why"


def test_an_hour_at_a_kiosk_gives_nobody_a_strangers_reading(house):
    residents = [house.ask("POST", "/api/v1/patients", {"name": f"Resident {n}", "birthDate": "1950-01-01", "sex": "male", "teamId": house.team})["id"] for n in range(40)]
    device = house.ask("POST", "/api/v1/devices", {"kind": "kiosk"})
    kiosk = house.meter(device["id"], device["secret"])
    login = lambda who: house.ask("POST", f"/api/v1/kiosks/{device['id']}/sessions", {"patientId": who})["token"]
    seq, own, doubtful = 0, {}, []

    def measure(value, token=None):
        nonlocal seq
        seq += 1
        house.advance("PT30S")
        result = kiosk.send(pressure(seq, house.clock, value, 80, **({"session": token} if token else {})))[0]
        assert result["result"] == "stored"

    for n, resident in enumerate(residents):
        value = 110 + n
        if n in (11, 29):
            # The card was misread: nobody logged in, the kiosk has a token that nobody gave out.
            measure(value, "0" * 22)
            doubtful.append(value)
        token = login(resident)
        measure(value, token)
        own[resident] = [value]
        if n == 20:
            # This one walks off without a word; the next sits down six minutes later and does not log in.
            house.advance("PT6M")
            measure(171, token)
            doubtful.append(171)
        if n == 25:
            # This one's second reading was slow: the next had logged in by then.
            login(residents[26])
            measure(172, token)
            doubtful.append(172)
    kept = {who: [row[1] for row in chart(house, who)] for who in residents}
    assert kept == own, "everybody has what they measured, and nothing else"
    waiting = house.ask("GET", "/api/v1/unassigned?limit=200")["items"]
    assert sorted(u["systolic"] for u in waiting) == sorted(doubtful)
    house.advance("PT5M")
    assert house.sink.people() == [], "and nobody is disturbed"


@pytest.mark.parametrize("version", [mqtt.MQTTv311, mqtt.MQTTv5], ids=["3.1.1", "5"])
def test_a_meter_with_a_certificate_needs_no_secret(tmp_path, version):
    files = certificates(tmp_path, "bp-signed")
    tls = f'[broker.tls]\ncert_file = "{files["server_cert"]}"\nkey_file = "{files["server_key"]}"\nclient_ca_file = "{files["ca_cert"]}"\n'
    with House(doors='mqtts = "127.0.0.1:0"\n', config=tls) as house:
        patient, _ = house.patient(bound=False)
        house.ask("POST", "/api/v1/devices", {"id": "bp-signed", "kind": "blood_pressure"})
        house.ask("POST", "/api/v1/devices/bp-signed/bindings", {"patientId": patient, "from": "2020-01-01T00:00:00+08:00"})
        meter = house.meter("bp-signed", None, version, door="mqtts", certificates=(files["ca_cert"], files["device_cert"], files["device_key"]))
        assert meter.send(pressure(1, "2026-03-02T07:50:00+08:00", 128, 82))[0]["result"] == "stored"
        assert [row[1] for row in chart(house, patient)] == [128]

"""What was acknowledged and not judged yet when the process was killed is judged once, as if nothing had happened."""
import json
import os

from house import eventually, pressure

HOMES = 12
AT = "2026-03-02T08:{:02}:00+08:00"


def publish(meters, minute, systolic, diastolic):
    """Everybody at once, until the last PUBACK: the kill that follows finds most of them not judged."""
    body = lambda: json.dumps({"v": 1, "readings": [pressure(minute + 1, AT.format(minute), systolic, diastolic)]})
    sent = [m.client.publish(f"hb/v1/devices/{m.device}/readings", body(), qos=1) for m in meters]
    for info in sent:
        info.wait_for_publish(10)
        assert info.is_published()


def steps(house, patient, rule="BP-C1"):
    found = house.ask("GET", f"/api/v1/patients/{patient}/findings?rule={rule}")["items"]
    return [(f["evidence"]["step"], f["severity"], f["effectiveAt"][11:16]) for f in found if not f["retractedAt"]]


def again(house, meters):
    house.start()
    house.advance("PT0S")
    for meter in meters:
        meter.close()
    return [house.meter(m.device, house.secrets[m.device]) for m in meters]


def test_one_reading_does_not_confirm_itself_and_a_normal_one_does_not_count_twice(house):
    people, meters = zip(*[house.patient(f"P{n}") for n in range(HOMES)])
    publish(meters, 0, 85, 50)
    house.advance("PT5M")
    publish(meters, 5, 190, 115)
    house.kill()
    meters = again(house, meters)
    assert all(steps(house, p) == [("asked", "info", "08:05")] for p in people), [steps(house, p) for p in people]
    house.advance("PT5M")
    publish(meters, 10, 150, 90)
    house.kill()
    meters = again(house, meters)
    assert all(("cleared", "info", "08:10") not in steps(house, p) for p in people), "one normal repeat clears nothing"
    house.advance("PT5M")
    publish(meters, 15, 191, 115)
    house.kill()
    again(house, meters)
    assert all(("confirmed", "critical", "08:15") in steps(house, p) for p in people), [steps(house, p) for p in people]
    eventually("everybody's page", lambda: sorted(set(house.sink.people())) == ["gp", "manager"])


def test_readings_that_find_their_patient_just_before_the_end_are_judged_after_it(house, monkeypatch):
    patient, meter = house.patient("Found", bound=False)
    for minute in (0, 5):
        meter.send(pressure(minute + 1, AT.format(minute), 188, 112))
        house.advance("PT5M")
    house.advance("PT3H")
    house.stop()
    monkeypatch.setitem(os.environ, "HEARTHBEAT_CRASH_AT", "rules.before_commit")
    house.start()
    try:
        house.ask("POST", f"/api/v1/devices/{meter.device}/bindings", {"patientId": patient, "from": "2020-01-01T00:00:00+08:00"})
    except (OSError, AssertionError):
        pass  # it may die before it answers
    eventually("it dies", lambda: house.process.poll() is not None)
    monkeypatch.delitem(os.environ, "HEARTHBEAT_CRASH_AT")
    house.start()
    house.advance("PT1M")
    assert len(house.readings(patient)) == 2
    found = house.ask("GET", f"/api/v1/patients/{patient}/findings?rule=BP-C1")["items"]
    assert [(f["verdict"], f["evidence"]["step"]) for f in found] == [("note", "confirmed")]
    assert house.sink.people() == [], "readings that find their patient page nobody"

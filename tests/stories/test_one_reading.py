"""One reading's way, told from the kitchen table to the doctor's acknowledgement."""
import csv
import io
import shutil
import subprocess
import uuid

import pytest
from house import eventually, pressure, run


def crisis(meter):
    meter.send(pressure(1, "2026-03-02T07:50:00+08:00", 186, 112))
    meter.send(pressure(2, "2026-03-02T07:55:00+08:00", 184, 110))


def test_a_crisis_is_told_to_the_team_climbs_and_ends_with_the_outcome(house):
    patient, meter = house.patient()
    crisis(meter)
    house.advance("PT0S")
    assert sorted(house.sink.people()) == ["gp", "manager"]
    house.advance("PT10M")
    assert sorted(house.sink.people()) == ["duty", "gp", "manager"]
    alert = house.ask("GET", f"/api/v1/alerts?patient={patient}")["items"][0]["id"]
    act = lambda action, body, who="gp": house.ask("POST", f"/api/v1/alerts/{alert}/{action}", body, who=who, headers={"idempotency-key": str(uuid.uuid4())})
    act("ack", {})
    act("follow-up", {"contactedAt": "2026-03-02T08:10:00+08:00", "how": "phone"})
    act("resolve", {"outcome": "treated"})
    house.advance("PT3H")
    assert sorted(house.sink.people()) == ["duty", "gp", "manager"], "and nobody else"
    shown = house.ask("GET", f"/api/v1/alerts/{alert}")
    assert shown["state"] == "resolved"
    assert [e["event"] for e in shown["timeline"]].count("acknowledged") == 1


def test_a_calm_reading_disturbs_nobody(house):
    patient, meter = house.patient()
    assert meter.send(pressure(1, "2026-03-02T07:50:00+08:00", 128, 82))[0]["result"] == "stored"
    house.advance("PT1H")
    assert house.sink.people() == []
    assert house.ask("GET", f"/api/v1/alerts?patient={patient}&state=all")["items"] == []


@pytest.mark.parametrize("version", ["mqttv311", "mqttv5"])
def test_a_client_that_nobody_here_wrote(house, version):
    if not shutil.which("mosquitto_pub"):
        pytest.skip("mosquitto_pub is not installed (Debian: mosquitto-clients)")
    patient, meter = house.patient()
    host, port = house.addresses["mqtt"].rsplit(":", 1)
    message = '{"v":1,"readings":[{"seq":9,"kind":"blood_pressure","time":"2026-03-02T07:00:00+08:00","systolic":141,"diastolic":91,"unit":"mmHg"}]}'
    meter.close()
    done = subprocess.run(["mosquitto_pub", "-h", host, "-p", port, "-V", version, "-i", meter.device, "-u", meter.device, "-P", house.secrets[meter.device],
                           "-q", "1", "-t", f"hb/v1/devices/{meter.device}/readings", "-m", message], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert [r["systolic"] for r in eventually("the reading", lambda: house.readings(patient))] == [141]


def test_export_tells_everything_while_the_service_runs(house):
    patient, meter = house.patient()
    meter.send(pressure(1, "2026-03-02T07:50:00+08:00", 128, 82), pressure(2, "2026-03-02T07:52:00+08:00", 2047, 2047))
    rows = house.export()
    assert [(r["device"], r["seq"], r["systolic"], r["patient"], r["result"]) for r in rows] == [(meter.device, 1, 128, patient, "stored")]
    held = house.export("quarantine")
    assert len(held) == 1 and "implausible" in held[0]["reasons"] and b"2047" in bytes.fromhex(held[0]["bytes"])
    text = run("export", "--data-dir", house.data).stdout
    table = list(csv.DictReader(io.StringIO(text)))
    assert "id,device,epoch,seq,patient,kind,measured_at,received_at,time_quality,result,systolic,diastolic,map,pulse,glucose,unit,meal" == text.splitlines()[0].strip()
    assert table[0]["measured_at"] == "2026-03-02T07:50:00+08:00"

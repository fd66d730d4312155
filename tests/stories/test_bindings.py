"""Whose a reading is follows the bindings, whatever comes between: the end of the process, a correction after an erasure."""
import os

from house import eventually, pressure, run

AT = "2026-03-02T06:{:02}:00+08:00"


def binding(house, meter):
    return house.ask("GET", f"/api/v1/devices/{meter.device}/bindings")["items"][0]["id"]


def test_a_correction_that_a_crash_cuts_short_is_finished_at_the_next_start(house):
    wrong, meter = house.patient("Wrong Person")
    right, other = house.patient("Right Person")
    meter.send(*[pressure(n, AT.format(n), 120 + n, 80) for n in range(1, 6)])
    path = f"/api/v1/devices/{meter.device}/bindings/{binding(house, meter)}"
    assert house.stop() == 0
    os.environ["HEARTHBEAT_CRASH_AT"] = "bindings.before_settled"
    try:
        house.start()
        house.login()
        try:
            house.call("PATCH", path, {"patientId": right})
        except OSError:
            pass                                              # the connection ends without an answer
        house.process.wait(10)
    finally:
        del os.environ["HEARTHBEAT_CRASH_AT"]
    house.start()
    assert house.ask("GET", path.rsplit("/", 1)[0])["items"][0]["patientId"] == right
    eventually("the readings with the right person", lambda: len(house.readings(right)) == 5)
    assert house.readings(wrong) == []


def held(house):
    return len(house.export("quarantine"))


def test_what_is_held_is_erased_with_whom_the_bindings_say(house):
    wrong, meter = house.patient("Wrong Person")
    right, other = house.patient("Right Person")
    assert meter.send(pressure(1, AT.format(1), 900, 80))[0]["result"] == "quarantined"
    house.ask("PATCH", f"/api/v1/devices/{meter.device}/bindings/{binding(house, meter)}", {"patientId": right})
    house.ask("POST", f"/api/v1/patients/{wrong}/erase", {"confirm": wrong})
    assert held(house) == 1, "it is somebody else's"
    done = house.ask("POST", f"/api/v1/patients/{right}/erase", {"confirm": right})["readings"]
    assert (done["heldBefore"], done["heldAfter"], held(house)) == (1, 0, 0)
    assert run("audit", "books", "--data-dir", house.data).returncode == 0


def test_what_was_held_stays_held_when_it_comes_again(house):
    patient, meter = house.patient()
    unset = lambda seq, minute, systolic: pressure(seq, f"2000-01-01T00:{minute:02}:00", systolic, 80)
    assert meter.send(unset(10, 10, 120))[0]["result"] == "stored"
    late = unset(5, 5, 190)
    assert meter.send(late)[0]["result"] == "quarantined"
    again = meter.send(late)[0]
    assert (again["result"], again["reasons"]) == ("duplicate", ["clock"])
    house.advance("P2D")
    meter = house.meter(meter.device, house.secrets[meter.device])
    assert meter.send(unset(1, 20, 121))[0]["result"] == "stored", "the counter began anew"
    assert meter.send(late)[0]["result"] == "duplicate", "and it is not measured now"
    assert 190 not in [float(r["systolic"]) for r in house.readings(patient)]
    assert run("audit", "books", "--data-dir", house.data).returncode == 0


def test_a_folder_with_readings_keeps_its_zone(house):
    patient, meter = house.patient()
    meter.send(pressure(1, "2026-03-02T07:00:00", 120, 80))
    assert house.stop() == 0
    with open(house.config) as f:
        text = f.read()
    with open(house.config, "w") as f:
        f.write(text + '[site]\ntime_zone = "Asia/Tokyo"\n')
    refused = run("run", "--config", house.config, "--data-dir", house.data)
    assert refused.returncode == 2, refused.stderr
    assert all(word in refused.stderr for word in ("site.time_zone", "Asia/Tokyo", "Asia/Shanghai")), refused.stderr
    with open(house.config, "w") as f:
        f.write(text)
    house.start()
    meter = house.meter(meter.device, house.secrets[meter.device])
    assert meter.send(pressure(1, "2026-03-02T07:00:00", 120, 80))[0]["result"] == "duplicate"

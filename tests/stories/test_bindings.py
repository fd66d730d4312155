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

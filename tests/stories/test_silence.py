"""When messages must not leave, and when they must leave all the same: nights, and addresses that say they are gone."""
import pytest
from house import House, pressure


def crisis(meter, seq, day, hour):
    meter.send(pressure(seq, f"2026-03-{day:02}T{hour:02}:50:00+08:00", 186, 112))
    meter.send(pressure(seq + 1, f"2026-03-{day:02}T{hour:02}:55:00+08:00", 184, 110))


def ready(house):
    """Status, and the line of `alerts`."""
    status, answer = house.call("GET", "/readyz?verbose", who=False)
    return status, next(c for c in answer["checks"] if c["name"] == "alerts")


def test_one_crisis_in_which_every_address_was_gone_does_not_end_in_silence(house):
    meter, other = house.patient()[1], house.patient("Wu Guilan")[1]
    assert ready(house)[0] == 200
    house.sink.answer = lambda message: 410
    crisis(meter, 1, 2, 7)
    house.advance("PT0S")
    assert sorted(house.sink.people()) == ["desk", "duty", "gp", "manager"], "each step at once"
    status, line = ready(house)
    assert (status, line["ok"], line["reason"]) == (503, False, "every_address_gone")
    house.advance("PT15M")
    assert house.sink.people()[4:] == ["desk"], "still gone, and asked again"
    house.sink.answer = lambda message: 200
    house.kill()
    house.start()
    assert ready(house)[0] == 503, "a start does not forget it"
    house.advance("PT15M")
    assert house.sink.people()[5:] == ["desk"]
    assert ready(house)[0] == 200, "what takes a message is an address again"
    other = house.meter(other.device, house.secrets[other.device])  # at the new address
    crisis(other, 1, 2, 7)
    house.advance("PT0S")
    assert house.sink.people()[6:] == ["desk"], "the next crisis, at once to whoever is known to live"


@pytest.mark.parametrize("killed", [False, True])
def test_an_urgent_that_failed_in_the_evening_is_not_told_in_the_night_it_was_mended_in(killed):
    with House(clock="2026-03-02T21:20:00+08:00") as house:
        meter = house.patient()[1]
        house.sink.answer = lambda message: 503
        meter.send(pressure(1, "2026-03-02T21:19:00+08:00", 188, 114))
        house.advance("PT31M")
        assert house.sink.people() == ["manager"], "one reading over the limit, not confirmed in half an hour"
        house.advance("PT1H")
        if killed:
            house.kill()
            house.start()
        house.sink.answer = lambda message: 200
        tried = len(house.sink.heard)
        house.advance("PT9H")
        assert house.sink.heard[tried:] == [], "07:51"
        house.advance("PT9M")
        assert [m["data"]["severity"] for m in house.sink.heard[tried:]] == ["urgent"]

"""The next contact that a follow-up names: kept, shown, due when its time has come, and nobody is paged about it."""
from house import eventually, pressure


def test_the_next_contact_is_kept_and_comes_due(house):
    patient, meter = house.patient()
    meter.send(*[pressure(n, f"2026-03-02T07:5{n}:00+08:00", 186 + n, 112) for n in (1, 5, 9)])
    alert = eventually("the crisis", lambda: house.ask("GET", f"/api/v1/alerts?patient={patient}")["items"])[0]["id"]
    path = f"/api/v1/alerts/{alert}"
    contact = {"contactedAt": "2026-03-02T08:00:00+08:00", "how": "phone", "note": "called"}
    over = house.call("POST", f"{path}/follow-up", {**contact, "dueAt": "2026-03-02T07:00:00+08:00"}, who="gp")
    assert over[0] == 422, over
    due = "2026-03-03T09:00:00+08:00"
    shown = house.ask("POST", f"{path}/follow-up", {**contact, "dueAt": due}, who="gp")
    assert (shown["state"], shown["dueAt"], shown["due"]) == ("follow_up", due, False)
    assert shown["timeline"][-1]["detail"] == f"phone: called; due {due}"
    told = len(house.sink.people())
    house.advance("PT48H")
    shown = house.ask("GET", path)
    assert (shown["state"], shown["dueAt"], shown["due"]) == ("follow_up", due, True)
    assert len(house.sink.people()) == told
    shown = house.ask("POST", f"{path}/follow-up", {**contact, "note": "well again"}, who="gp")
    assert (shown["dueAt"], shown["due"]) == (None, False)

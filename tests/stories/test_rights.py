"""Who may not act on an alert hears that first, whatever the body says."""
from house import PASSWORD, eventually, pressure


def test_a_right_is_asked_before_a_body_is_read(house):
    specialist = house.ask("POST", "/api/v1/users", {"username": "specialist", "name": "S", "roles": ["specialist"], "organisationId": house.station,
                                                     "password": PASSWORD, "contacts": [{"channel": "sink", "address": "specialist"}]})["id"]
    members = [{"userId": house.gp, "role": "gp"}, {"userId": house.manager, "role": "health_manager"}, {"userId": specialist, "role": "specialist"}]
    house.ask("PATCH", f"/api/v1/teams/{house.team}", {"members": members}, headers={"if-match": "*"})
    patient, meter = house.patient()
    meter.send(*[pressure(n, f"2026-03-02T07:5{n}:00+08:00", 186 + n, 112) for n in (1, 5, 9)])
    alert = eventually("the crisis", lambda: house.ask("GET", f"/api/v1/alerts?patient={patient}")["items"])[0]["id"]
    for act in ("snooze", "resolve", "assign"):
        assert house.call("POST", f"/api/v1/alerts/{alert}/{act}", {}, who="specialist")[0] == 403, act
    assert house.call("POST", f"/api/v1/alerts/{alert}/snooze", {}, who="gp")[0] == 422

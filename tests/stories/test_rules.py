"""A rule's number is tried on the past, signed by two, holds from its moment on, and comes back in one step."""
import json
import os
import socket
import sqlite3

from house import PASSWORD, eventually, pressure, run

RULE = "/api/v1/rules/BP-C1"
WEEK = {"from": "2026-03-02T00:00:00+08:00"}


def tables(house, *but):
    """Every row of every table of both files; what the journal merges in the background is the same readings elsewhere."""
    with sqlite3.connect(f"file:{house.data}/registry.db?mode=ro", uri=True) as c:
        names = [n for (n,) in c.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") if n not in but]
        registry = {n: sorted(map(repr, c.execute(f'SELECT * FROM "{n}"'))) for n in names}
    return {**registry, **{t: sorted(map(json.dumps, house.export(t))) for t in ("readings", "quarantine", "alerts", "deliveries")}}


def specialist(house):
    """The medical lead."""
    house.ask("POST", "/api/v1/users", {"username": "lead", "name": "lead", "roles": ["specialist"], "organisationId": house.station, "password": PASSWORD,
                                        "contacts": [{"channel": "sink", "address": "lead"}]})


def etag(house):
    return {"if-match": f'"{house.ask("GET", RULE)["revision"]}"'}


def week_of_readings(house):
    """A calm person and one whose pressure is 170 now and then."""
    (calm, quiet), (high, loud) = house.patient("Calm"), house.patient("High")
    for day in range(3, 9):
        house.advance("P1D" if day > 3 else "PT23H")
        at = house.clock[:10]
        quiet.send(pressure(day, f"{at}T06:30:00+08:00", 124, 80))
        loud.send(pressure(2 * day, f"{at}T06:30:00+08:00", 171, 88), pressure(2 * day + 1, f"{at}T06:33:00+08:00", 172, 88))
        house.advance("PT0S")
    house.advance("PT2H")
    return calm, high


def trial(house, **more):
    return {"parameters": {"BP-C1": {"systolic": 170}}, **WEEK, "to": house.clock, **more}


def test_what_other_numbers_would_have_told_and_nothing_of_it_stays(house):
    calm, high = week_of_readings(house)
    house.login()
    mine = {"BP-C1": {}}
    own = house.ask("POST", "/api/v1/rules:rehearse", trial(house, parameters=mine))
    assert all(r["new"] == r["gone"] == r["changed"] == 0 and r["did"] == r["would"] for r in own["rules"]), own
    told, before = list(house.sink.heard), tables(house, "audit", "audit_head", "session")
    lower = house.ask("POST", "/api/v1/rules:rehearse", trial(house), who="gp")
    assert tables(house, "audit", "audit_head", "session") == before, "no table differs"
    assert house.sink.heard == told, "nobody heard of it"
    row = lower["rules"][0]
    assert (row["ruleId"], row["did"]["told"], row["would"]["patients"], row["would"]["critical"]) == ("BP-C1", 0, 1, 6)
    assert lower["patients"] == {"inScope": 2, "judged": 2, "complete": True}
    assert {e["patientId"] for e in lower["examples"]} == {high} and lower["examples"][0]["change"] == "new"
    assert "would have been told 6 times about 1" in lower["says"]["en"]
    one = house.ask("POST", "/api/v1/rules:rehearse", trial(house, scope={"patientId": calm}), who="gp")
    assert one["patients"]["inScope"] == 1 and one["rules"][0]["would"]["findings"] == 0
    status, refused = house.call("POST", "/api/v1/rules:rehearse", trial(house, parameters={"BP-C1": {"systolic": 999}}))
    assert status == 422 and refused["field"] == "parameters.systolic", refused


def test_the_command_line_says_the_same_on_a_stopped_service_and_names_the_call_beside_a_running_one(house):
    _, high = week_of_readings(house)
    card = os.path.join(house.folder, "bp-c1.toml")
    with open(os.path.join(os.path.dirname(__file__), "../../config/rules/bp-c1.toml")) as f:
        text = f.read().replace("default = 180", "default = 170", 1)
    with open(card, "w") as f:
        f.write(text)
    asked = ["rehearse", "--rules", card, "--from", "2026-03-02", "--to", house.clock, "--data-dir", house.data, "--json"]
    beside = run(*asked)
    assert beside.returncode == 1 and "POST /api/v1/rules:rehearse" in beside.stderr and str(house.process.pid) in beside.stderr, beside.stderr
    over_http = house.ask("POST", "/api/v1/rules:rehearse", trial(house))
    assert house.stop() == 0
    before = tables(house)
    done = run(*asked)
    assert done.returncode == 0, done.stderr
    assert tables(house) == before, "no table differs"
    said = json.loads(done.stdout)
    assert said["rules"] == over_http["rules"] and {e["patientId"] for e in said["examples"]} == {high}
    table = run(*asked[:-1]).stdout
    assert "BP-C1" in table and "on trial" in table and "nothing was written" in table, table
    with open(card, "w") as f:
        f.write(text.replace('unit = "mmHg"\n', "", 1))
    bad = run(*asked)
    assert bad.returncode == 2 and "bp-c1.toml, line" in bad.stderr and "unit" in bad.stderr, bad.stderr
    assert run(*asked[:3], "--from", "yesterday", *asked[5:]).returncode == 2


def test_two_sign_it_holds_from_its_moment_on_and_one_takes_it_back(house):
    patient, meter = house.patient()
    specialist(house)
    draft = {"parameters": {"systolic": 170}, "note": "sooner", "effectiveFrom": "2026-03-02T12:00:00+08:00"}
    house.ask("PUT", RULE, draft, who="lead", headers=etag(house))
    assert house.call("POST", RULE + "/approve", {}, who="lead")[0] == 403, "not the author"
    assert house.call("POST", RULE + "/approve", {}, who="gp")[0] == 403
    signed = house.ask("POST", RULE + "/approve", {})
    assert signed["scheduled"][0]["effectiveFrom"] == "2026-03-02T12:00:00+08:00"
    high = lambda seq: meter.send(pressure(seq, house.clock, 171, 88)) and house.advance("PT0S")
    findings = lambda: house.ask("GET", f"/api/v1/patients/{patient}/findings?rule=BP-C1")["items"]
    house.advance("PT3H50M")
    high(1)
    assert findings() == [], "its moment has not come"
    house.kill()
    house.start()
    house.advance("PT1H")
    shown = house.ask("GET", RULE)
    assert shown["version"] == 2 and shown["history"][0]["approver"] and "170" in shown["text"]["en"], shown
    meter = house.meter(meter.device, house.secrets[meter.device])
    high(2)
    [asked] = findings()
    number = next(p for p in asked["evidence"]["parameters"] if p["name"] == "systolic")
    assert (asked["ruleVersion"], number["value"], number["from"]) == (2, 170, "platform")
    house.advance("PT8H")
    house.ask("POST", RULE + "/rollback", {"note": "too many"}, who="lead")
    house.advance("PT0S")
    before = len(findings())
    high(3)
    assert len(findings()) == before and house.ask("GET", RULE)["version"] == 1


def test_a_station_has_a_number_of_its_own_and_each_finding_says_so(house):
    patient, meter = house.patient()
    specialist(house)
    body = {"parameters": {"systolic": 165}, "scope": {"organisationId": house.station}}
    house.ask("PUT", RULE, body, who="gp", headers=etag(house))
    house.ask("POST", RULE + "/approve", {"scope": body["scope"]}, who="lead")
    house.advance("PT1M")
    meter.send(pressure(1, house.clock, 166, 88))
    house.advance("PT0S")
    [asked] = house.ask("GET", f"/api/v1/patients/{patient}/findings?rule=BP-C1")["items"]
    number = next(p for p in asked["evidence"]["parameters"] if p["name"] == "systolic")
    assert (number["value"], number["from"]) == (165, "station")
    for member in "id ruleId ruleVersion concept severity verdict at effectiveAt recipients closes alertId readingIds excluded retractedAt evidence".split():
        assert member in asked, member
    # The patient's own is stronger, and keeps to the card.
    plan = f"/api/v1/patients/{patient}/plan"
    etag_of_plan = {"if-match": "*"}
    status, refused = house.call("PUT", plan, {"parameters": {"BP-C1": {"systolic": 120}}}, who="gp", headers=etag_of_plan)
    assert status == 422 and refused["field"] == "parameters.BP-C1.systolic" and "160 to 220" in refused["detail"], refused
    house.ask("PUT", plan, {"parameters": {"BP-C1": {"systolic": 190}}}, who="gp", headers=etag_of_plan)
    house.advance("PT7H")
    meter.send(pressure(2, house.clock, 189, 88))
    house.advance("PT0S")
    assert len(house.ask("GET", f"/api/v1/patients/{patient}/findings?rule=BP-C1&from=2026-03-02T12:00:00%2B08:00")["items"]) == 0


def test_who_goes_away_ends_the_rehearsal(house):
    week_of_readings(house)
    token = house.login()
    host, port = house.addresses["http"].rsplit(":", 1)
    body = json.dumps(trial(house)).encode()
    head = f"POST /api/v1/rules:rehearse HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    for _ in range(20):
        with socket.create_connection((host, int(port))) as s:
            s.sendall(head.encode() + body)
    # One runs at a time: whoever asks next is served as soon as the abandoned one has noticed.
    eventually("a rehearsal is possible again", lambda: house.call("POST", "/api/v1/rules:rehearse", trial(house))[0] == 200)


def test_a_crisis_after_its_alert_was_closed_is_told_again_and_a_trial_knows_it(house):
    patient, meter = house.patient("Twice")

    def crisis(seq):
        for n in range(2):
            meter.send(pressure(seq + n, house.clock, 190 + n, 112))
            house.advance("PT5M")

    crisis(1)
    [alert] = house.ask("GET", f"/api/v1/alerts?patient={patient}")["items"]
    for act, body in (("ack", {}), ("resolve", {"outcome": "treated"})):
        house.ask("POST", f"/api/v1/alerts/{alert['id']}/{act}", body, who="gp", headers={"idempotency-key": f"{act}-of-the-story"})
    house.sink.heard.clear()
    house.advance("PT1H")
    crisis(3)
    again = eventually("the second alert", lambda: [a for a in house.ask("GET", f"/api/v1/alerts?patient={patient}&state=all")["items"] if a["id"] != alert["id"]])
    assert [(a["severity"], a["previousId"]) for a in again] == [("critical", alert["id"])]
    eventually("the second page", lambda: sorted(house.sink.people()) == ["gp", "manager"])
    house.advance("PT1H")
    tried = house.ask("POST", "/api/v1/rules:rehearse", {"parameters": {"BP-C1": {}}, **WEEK, "to": house.clock})
    assert [(r["did"]["critical"], r["would"]["critical"], r["new"], r["gone"]) for r in tried["rules"]] == [(2, 2, 0, 0)], tried["rules"]

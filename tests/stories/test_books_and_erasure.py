"""The books are counted again, what is too old goes, a patient is erased with proof, a newer file is refused."""
import glob
import json
import os
import shutil
import sqlite3

from house import House, eventually, pressure, run

WORD = "canary-note-of-a-patient"


def audit(house, *more, data=None):
    done = run("audit", "books", "--data-dir", data or house.data, "--json", *more)
    return done, json.loads(done.stdout) if done.stdout else None


def files_with(house, what, data=None):
    """Names of the folder's files in which these bytes are."""
    found = []
    for path in glob.glob(os.path.join(data or house.data, "**"), recursive=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                if what.encode() in f.read():
                    found.append(os.path.basename(path))
    return found


def feed(house, meter, first=1, count=20, note="", systolic=120):
    extra = {"context": {"note": note}} if note else {}
    return meter.send(*[pressure(n, f"2026-03-02T06:{n:02}:00+08:00", systolic + n, 80, **extra) for n in range(first, first + count)])


def said_books(house):
    checks = house.call("GET", "/readyz?verbose", who=False)[1]["checks"]
    return next(c for c in checks if c["name"] == "books")


def test_the_books_are_counted_again_beside_a_running_service(house):
    patient, meter = house.patient()
    feed(house, meter)
    feed(house, meter, first=11)                      # ten of them again
    meter.send({"seq": 99, "kind": "blood_pressure", "time": "2026-03-02T07:00:00+08:00", "systolic": 900, "diastolic": 80, "unit": "mmHg"})
    done, report = audit(house, "--day", "2026-03-02")
    assert done.returncode == 0, done.stderr
    assert report["wrong"] == 0 and report["mismatches"] == []
    books = next(d for d in report["devices"] if d["device"] == meter.device)
    assert {k: books[k] for k in ("stored", "duplicate", "quarantined", "rejected", "accepted")} == \
        {"stored": 30, "duplicate": 10, "quarantined": 1, "rejected": 0, "accepted": 41}
    text = run("audit", "books", "--data-dir", house.data)
    assert text.returncode == 0 and "the books agree" in text.stdout
    assert said_books(house)["ok"]
    assert any(s["stage"] == "books" and s["errors"] == 0 for s in house.ask("GET", "/api/v1/ops/pipeline")["stages"])


def test_a_mismatch_is_an_alarm_and_turns_nobody_away(house):
    patient, meter = house.patient()
    feed(house, meter)
    assert house.stop() == 0
    with sqlite3.connect(os.path.join(house.data, "journal.db")) as c:
        c.execute("INSERT INTO books(day, device, stored, duplicate, quarantined) VALUES(20260302, 1, 3, 0, 0)")
    done, report = audit(house)
    assert done.returncode == 1 and report["wrong"] == 1, done.stderr
    assert meter.device in report["mismatches"][0] and "23 in the books, 20 by rows" in report["mismatches"][0]
    house.start()
    eventually("the alarm at the start", lambda: "mismatch" in said_books(house).get("reason", ""))
    assert house.call("GET", "/readyz", who=False)[0] == 200
    assert "do not balance" in house.said()
    assert "hearthbeat_books_mismatches 1" in house.call("GET", "/metrics", who=False)[1]
    meter = house.meter(meter.device, house.secrets[meter.device])
    assert meter.send(pressure(50, "2026-03-02T07:30:00+08:00", 120, 80))[0]["result"] == "stored"
    with sqlite3.connect(os.path.join(house.data, "journal.db"), timeout=10) as c:
        c.execute("DELETE FROM books WHERE stored = 3")
    house.advance("PT1H")
    eventually("the next hour's recount", lambda: "reason" not in said_books(house))


def test_a_patient_is_erased_while_the_service_runs(house):
    patient, meter = house.patient(name="Canary Kanarienvogel")
    other, others_meter = house.patient(name="Somebody Else")
    feed(house, meter, note=WORD)
    feed(house, others_meter)
    meter.client.publish(f"hb/v1/devices/{meter.device}/readings", f"not json {WORD}", qos=1).wait_for_publish(10)
    meter.send(*[pressure(30 + n, f"2026-03-02T07:5{n}:00+08:00", 210, 130, context={"note": WORD}) for n in range(3)])
    eventually("a page", lambda: house.sink.people())
    alert = house.ask("GET", "/api/v1/alerts")["items"][0]
    copy = os.path.join(house.folder, "copy")
    assert run("backup", copy, "--data-dir", house.data, "--keep-days", "7").returncode == 0
    assert files_with(house, WORD) and files_with(house, "Kanarienvogel")
    path = f"/api/v1/patients/{patient}/erase"
    assert house.call("POST", path, {"confirm": patient}, who="gp")[0] == 403
    assert house.call("POST", path, {"confirm": other})[0] == 422
    done = house.ask("POST", path, {"confirm": patient})
    counts = done["readings"]
    assert counts.pop("originalsBefore") > 0 and counts.pop("originalsAfter") == 0, done
    assert counts == {"readingsBefore": 23, "readingsAfter": 0, "heldBefore": 1, "heldAfter": 0, "logEmptied": True}, done
    assert done["records"]["after"] == 0 and done["records"]["logEmptied"] and done["records"]["alerts"] >= 1
    assert [os.path.basename(b["path"]) for b in done["backups"]] == ["copy"]
    assert files_with(house, WORD) == [] and files_with(house, "Kanarienvogel") == []
    assert files_with(house, WORD, data=copy), "the backup holds it still, and is named"
    assert house.call("GET", f"/api/v1/patients/{patient}")[0] == 404
    assert house.call("GET", f"/api/v1/alerts/{alert['id']}")[0] == 404
    assert len(house.readings(other)) == 20
    # Hours of escalation later nothing of it has come back, and what the meter still has is known.
    house.advance("PT6H")
    assert feed(house, meter, note=WORD)[0]["result"] == "duplicate"
    assert files_with(house, WORD) == [] and files_with(house, "Kanarienvogel") == []
    done, report = audit(house)
    assert done.returncode == 0 and report["wrong"] == 0, done.stdout
    rows = house.ask("GET", "/api/v1/audit?limit=200")["items"]
    assert any(r["action"] == "patient.erase" and r["result"] == "ok" for r in rows)
    assert run("audit", "verify", "--data-dir", house.data).returncode == 0


def test_a_patient_is_erased_on_a_stopped_service_and_a_restored_backup_brings_them_back_until_erased_again(house):
    patient, meter = house.patient(name="Canary Kanarienvogel")
    feed(house, meter, note=WORD)
    copy = os.path.join(house.folder, "copy")
    assert run("backup", copy, "--data-dir", house.data).returncode == 0
    erase = lambda *more, data=house.data: run("erase", patient, "--data-dir", data, *more)
    refused = erase("--confirm", patient)
    assert refused.returncode == 1 and "POST /api/v1/patients" in refused.stderr, refused.stderr
    assert house.stop() == 0
    assert erase("--confirm", "p_0000000000000").returncode == 2
    done = erase("--confirm", patient)
    assert done.returncode == 0 and "is erased" in done.stdout and copy in done.stdout, done.stdout + done.stderr
    assert files_with(house, WORD) == [] and files_with(house, "Kanarienvogel") == []
    back = os.path.join(house.folder, "back")
    assert run("restore", copy, "--data-dir", back).returncode == 0
    assert files_with(house, WORD, data=back)
    assert erase("--confirm", patient, data=back).returncode == 0
    assert files_with(house, WORD, data=back) == []
    unknown = run("erase", "p_0000000000001", "--data-dir", back, "--confirm", "p_0000000000001")
    assert unknown.returncode == 1 and "no such patient" in unknown.stderr
    house.start()
    assert house.call("GET", f"/api/v1/patients/{patient}")[0] == 404
    done, report = audit(house)
    assert done.returncode == 0, report


def test_retention_drops_whole_weeks_once_a_day_and_the_books_go_on():
    with House(config="[store.retention]\nreadings_years = 1\nquarantine_days = 30\n") as house:
        patient, meter = house.patient()
        old = [pressure(n, f"2024-01-{n:02}T08:00:00+08:00", 120, 80) for n in range(1, 29)]
        meter.send(*old, historical=True)
        meter.send({"seq": 99, "kind": "blood_pressure", "time": "2026-03-02T07:00:00+08:00", "systolic": 900, "diastolic": 80, "unit": "mmHg"})
        feed(house, meter, first=30)
        assert len(house.readings(patient)) == 48
        house.advance("P1D")
        eventually("weeks of 2024 are gone", lambda: len(house.readings(patient)) == 20, 20)
        assert len(house.export("quarantine")) == 1, "it is not thirty days old"
        assert {r["result"] for r in meter.send(*old[:5], historical=True)} == {"duplicate"}, "and do not come back"
        house.advance("P40D")
        eventually("old held bytes are gone", lambda: not house.export("quarantine"), 20)
        done, report = audit(house)
        assert done.returncode == 0 and report["wrong"] == 0, done.stdout
        assert sum(d["removed"] for d in report["days"]) == 29
        house.kill()
        house.start()
        assert len(house.readings(patient)) == 20


def test_a_folder_of_a_newer_program_is_refused_and_left_alone(house):
    assert house.stop() == 0
    for name in ("journal.db", "registry.db"):
        newer = os.path.join(house.folder, f"newer-{name}")
        shutil.copytree(house.data, newer)
        with sqlite3.connect(os.path.join(newer, name)) as c:
            c.execute("PRAGMA user_version=99")
        for command in (["run"], ["export"], ["audit", "books"]):
            done = run(*command, "--data-dir", newer)
            assert done.returncode == 1, f"{command} on a newer {name}: {done.returncode} {done.stderr}"
            assert "schema 99" in done.stderr and "newer program" in done.stderr, done.stderr
        assert run("restore", newer, "--data-dir", os.path.join(house.folder, f"back-{name}")).returncode == 1
        with sqlite3.connect(os.path.join(newer, name)) as c:
            assert c.execute("PRAGMA user_version").fetchone() == (99,)


def test_an_erasure_leaves_what_the_next_wearer_sent(house):
    first, meter = house.patient(name="Canary Kanarienvogel")
    second, _ = house.patient(name="Next Wearer", bound=False)
    bindings = f"/api/v1/devices/{meter.device}/bindings"
    lent = house.ask("GET", bindings)["items"][0]["id"]
    house.ask("PATCH", f"{bindings}/{lent}", {"to": "2026-03-02T07:00:00+08:00"})
    house.ask("POST", bindings, {"patientId": second, "from": "2026-03-02T07:00:00+08:00"})
    old = [pressure(n, f"2026-03-02T06:{n:02}:00+08:00", 120 + n, 80, context={"note": WORD}) for n in range(1, 6)]
    theirs = lambda n: pressure(n, f"2026-03-02T07:{n:02}:00+08:00", 120 + n, 80)
    original = lambda result: house.call("GET", f"/api/v1/readings/{result['id']}/original")[0]
    mine = meter.send(*old)
    own = meter.send(theirs(10))[0]
    repeated = meter.send(theirs(10), theirs(11))[1]     # their own once more, beside a new one
    mixed = meter.send(*old, theirs(12))[-1]             # the whole memory once more, beside a new one
    assert [r["result"] for r in (own, repeated, mixed)] == ["stored"] * 3 and files_with(house, WORD)
    done = house.ask("POST", f"/api/v1/patients/{first}/erase", {"confirm": first})["readings"]
    assert (done["readingsBefore"], done["originalsBefore"], done["originalsAfter"]) == (5, 2, 0), done
    assert files_with(house, WORD) == []
    assert [original(r) for r in (mine[0], own, mixed)] == [404, 200, 404]
    assert original(repeated) == 409, "it is there; that it speaks of one person alone is not known"
    # The meter still has the first wearer's readings in its memory, and sends them beside a new one of the next.
    after = meter.send(*old, theirs(13))
    assert [r["result"] for r in after] == ["duplicate"] * 5 + ["stored"]
    assert files_with(house, WORD) == [] and original(after[-1]) == 404
    assert len(house.readings(second)) == 4
    done, report = audit(house)
    assert done.returncode == 0 and report["wrong"] == 0, done.stdout

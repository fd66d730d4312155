"""What must hold after a crash, whichever: each client's own list against everything that the service tells of itself."""
import collections
import datetime

EVERYTHING = "from=1990-01-01T00:00:00Z&to=2100-01-01T00:00:00Z"


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


class Checks:
    """Counts promises, kept and broken."""

    def __init__(self):
        self.passed = self.failed = 0

    def that(self, ok, name, detail=""):
        self.passed, self.failed = self.passed + bool(ok), self.failed + (not ok)
        if not ok:
            print(f"FAILED  {name}" + (f": {detail}" if detail else ""), flush=True)


def ordinary(start):
    """Readings of a healthy person: a function of seq, so that what is stored can be compared value by value."""
    def make(seq):
        at = start + datetime.timedelta(seconds=seq)
        return {"kind": "blood_pressure", "time": at.isoformat(), "systolic": 110 + seq % 19, "diastolic": 62 + seq % 17, "pulse": 58 + seq % 23, "unit": "mmHg"}
    return make


def compare_readings(checks, service, meters):
    """Each client's own list against the store, by (device, epoch, seq)."""
    rows = service.export("readings")
    keys = collections.Counter((r["device"], r["epoch"], r["seq"]) for r in rows)
    doubled = [k for k, n in keys.items() if n > 1]
    checks.that(not doubled, "(device, epoch, seq) is stored once", f"{len(doubled)} twice, first {doubled[:3]}")
    by_device = collections.defaultdict(list)
    for r in rows:
        by_device[r["device"]].append(r)
    held = service.export("quarantine")
    checks.that(not held, "nothing good is quarantined", f"{len(held)} held, reasons {collections.Counter(str(h['reasons']) for h in held).most_common(3)}")
    for m in meters:
        stored = collections.Counter(int(r["seq"]) for r in by_device[m.device])
        lost = sorted(m.acked - set(stored))
        checks.that(not lost, f"{m.device}: every acknowledged reading is stored", f"{len(lost)} of {len(m.acked)} LOST, first {lost[:5]}")
        twice = sorted(s for s, n in stored.items() if n > 1)
        checks.that(not twice, f"{m.device}: none is stored twice", f"{len(twice)}, first {twice[:5]}")
        strange = sorted(set(stored) - m.sent)
        checks.that(not strange, f"{m.device}: none that nobody sent", f"first {strange[:5]}")
        wrong = [r["seq"] for r in by_device[m.device] if int(r["seq"]) in m.sent and not same(r, m.make(int(r["seq"])))]
        checks.that(not wrong, f"{m.device}: times and values as sent", f"{len(wrong)} differ, first seq {wrong[:5]}")
    return len(rows)


def same(row, sent):
    if moment(row["measured_at"]) != moment(sent["time"]):
        return False
    return all(float(row[k]) == float(sent[k]) for k in ("systolic", "diastolic", "pulse", "glucose") if k in sent)


def compare_books(checks, service, meters, rows, days):
    total, devices = service.books(days)
    sums = total["stored"] + total["duplicate"] + total["quarantined"] + total["rejected"]
    checks.that(total["accepted"] == sums, "the books balance", str(total))
    checks.that(total["stored"] == rows, "the books' stored are the store's rows", f"{total['stored']} against {rows}")
    for m in meters:
        stored = devices.get(m.device, {}).get("stored", 0)
        checks.that(stored == len(m.sent), f"{m.device}: the books say what was sent", f"{stored} against {len(m.sent)}")


def compare_findings(checks, service, crises, patient_of):
    """Each crisis is one critical finding in one episode."""
    alerts = {}
    for meter, concept in crises:
        patient = patient_of[meter.device]
        mine = [a for a in service.items(f"/api/v1/alerts?state=all&limit=200&patient={patient}") if a["severity"] == "critical"]
        checks.that([a["concept"] for a in mine] == [concept], f"{meter.device}: one critical episode", f"{[(a['concept'], a['state']) for a in mine]}")
        found = [f for f in service.items(f"/api/v1/patients/{patient}/findings?limit=200&{EVERYTHING}") if f["severity"] == "critical" and not f.get("retractedAt")]
        checks.that(len(found) >= 1, f"{meter.device}: a critical finding", f"{len(found)}")
        ids = {a["id"] for a in mine}
        checks.that(all(f["alertId"] in ids for f in found), f"{meter.device}: its findings are in that episode", f"{[f['alertId'] for f in found]}")
        same_twice = collections.Counter((f["ruleId"], f["effectiveAt"], tuple(sorted(f["readingIds"]))) for f in found)
        checks.that(all(n == 1 for n in same_twice.values()), f"{meter.device}: no finding twice", str(same_twice.most_common(1)))
        alerts.update({a["id"]: meter.device for a in mine})
    return alerts


def compare_messages(checks, service, alerts):
    """Level 1 was told once each under one webhook-id, with the same bytes each time; and nobody of level 1 was left out."""
    with service.sink.lock:
        caught = list(service.sink.messages)
    ids, bodies = collections.defaultdict(set), collections.defaultdict(set)
    for key, body, message in caught:
        if message.get("type") != "alert.notification":
            continue
        data = message["data"]
        ids[(data["alertId"], data["recipient"]["address"], data["level"], data["cycle"], data["severity"])].add(key)
        bodies[key].add(body)
    split = [k for k, keys in ids.items() if len(keys) > 1]
    checks.that(not split, "each delivery has one webhook-id", f"{len(split)} have more, first {split[:2]}")
    changed = [k for k, b in bodies.items() if len(b) > 1]
    checks.that(not changed, "a repeated webhook has the same bytes", f"{len(changed)} differ, first {changed[:2]}")
    told = collections.defaultdict(set)
    for alert, address, level, _, severity in ids:
        if level == 1 and severity == "critical":
            told[alert].add(address)
    for alert, device in alerts.items():
        checks.that(told[alert] == {"gp", "manager"}, f"{device}: level 1 is told, and nobody else", str(sorted(told[alert])))
    known = {d["id"] for d in service.export("deliveries")}
    checks.that(set(bodies) <= known, "every webhook-id is a delivery of the store", f"{len(set(bodies) - known)} are not")
    return sum(1 for _, _, m in caught if m.get("type") == "alert.notification"), len(bodies)

#!/usr/bin/env python3
"""kill -9 at random moments under load: what was acknowledged is stored exactly once, what was found is one episode.

    tests/crash/kill9.py [--kills 50] [--seed N] [--meters 8] [--keep]

Meters with an outbox pipeline readings over MQTT 3.1.1 and 5 while the release binary is killed and started again;
around each kill one patient has a crisis (two confirming pressures, or one severe low). In the end the clients' own
lists are compared with `hearthbeat export`, with the day's books, with findings, episodes and the webhooks caught.
Prints the seed and the command that repeats the run; the last line is `N passed, N failed`.
"""
import argparse
import collections
import datetime
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "outside"))
sys.dont_write_bytecode = True
from meter import CST, Meter  # noqa: E402
from service import Broken, Service, until  # noqa: E402

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


def crisis(kind):
    """Two pressures over 180/110 two minutes apart, or one glucose below 3.0, measured just now."""
    now = datetime.datetime.now(CST).replace(microsecond=0)

    def make(seq):
        at = (now - datetime.timedelta(minutes=4 - 2 * seq)).isoformat()
        if kind == "bp_crisis":
            return {"kind": "blood_pressure", "time": at, "systolic": 185 + seq, "diastolic": 111 + seq, "pulse": 90, "unit": "mmHg"}
        return {"kind": "blood_glucose", "time": at, "glucose": 2.4, "unit": "mmol/L", "meal": "casual", "specimen": "capillary"}
    return make, 2 if kind == "bp_crisis" else 1


def storm(service, meters, patients, kills, dice):
    """Kills and starts again; starts one crisis at a random distance from each kill. The crisis meters, with their concept."""
    crises, slowest = [], 0.0
    for number in range(kills):
        before = sum(len(m.acked) for m in meters)
        until("readings acknowledged after a start", 30, lambda: sum(len(m.acked) for m in meters) > before or any(m.trouble for m in meters), 0.002)
        (device, secret), concept = patients[number], dice.choice(["bp_crisis", "glucose_low_severe"])
        make, last = crisis(concept)
        meter = Meter(service.mqtt, device, secret, make, version=4 + number % 2, last=last, seed=number)
        wait, lead = dice.uniform(0.0, 0.8), dice.uniform(0.0, 0.05)
        time.sleep(max(0.0, wait - lead))           # the random moment is the test
        meter.start()
        crises.append((meter, concept))
        time.sleep(min(lead, wait))
        service.kill()
        begun = time.monotonic()
        service.start()
        slowest = max(slowest, time.monotonic() - begun)
        if number % 10 == 9:
            print(f"  {number + 1} kills, {sum(len(m.acked) for m in meters)} readings acknowledged, slowest start {slowest:.2f} s", flush=True)
    return crises


def finish(checks, meters):
    for m in meters:
        m.ending.set()
    for m in meters:
        m.join(60)
        checks.that(not m.trouble, f"{m.device} is served", m.trouble)
        checks.that(not m.is_alive() and not m.waiting, f"{m.device} gets every PUBACK in the end", f"{len(m.waiting)} messages still wait")


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


def all_told(service, alerts):
    with service.sink.lock:
        told = {(m["data"]["alertId"], m["data"]["recipient"]["address"]) for _, _, m in service.sink.messages if m.get("type") == "alert.notification"}
    return all((a, who) in told for a in alerts for who in ("gp", "manager"))


def run(args, checks, service):
    dice = random.Random(args.seed)
    begun = datetime.datetime.now(CST)
    service.start()
    team = service.district()["team"]
    homes = service.enrol(team, args.meters + args.kills)
    start = begun.replace(microsecond=0) - datetime.timedelta(hours=20)
    meters = [Meter(service.mqtt, device, secret, ordinary(start), version=4 + n % 2, per_message=1 + 2 * (n % 3), rate=args.rate, last=60_000, seed=args.seed)
              for n, (device, secret) in enumerate(homes[:args.meters])]
    for m in meters:
        m.start()
    crises = storm(service, meters, homes[args.meters:], args.kills, dice)
    everybody = meters + [m for m, _ in crises]
    finish(checks, everybody)

    patient_of = {}
    for device, _ in homes[args.meters:]:
        patient_of[device] = service.ask("GET", f"/api/v1/devices/{device}/bindings")["items"][0]["patientId"]

    def open_alerts():
        found = {a["patientId"]: a["id"] for a in service.items("/api/v1/alerts?state=all&limit=200") if a["severity"] == "critical"}
        return found if all(patient_of[m.device] in found for m, _ in crises) else None
    try:
        found = until("an episode for every crisis", 60, open_alerts, 0.2)
        until("every level-1 message", 60, lambda: all_told(service, found.values()), 0.1)
    except Broken as e:
        checks.that(False, "crises are told", str(e))
    days = sorted({begun.date().isoformat(), datetime.datetime.now(CST).date().isoformat()})
    alerts = compare_findings(checks, service, crises, patient_of)
    sent, distinct = compare_messages(checks, service, alerts)
    rows = compare_readings(checks, service, everybody)
    compare_books(checks, service, everybody, rows, days)
    checks.that(service.stop() == 0, "a clean stop at the end")
    acked = sum(len(m.acked) for m in everybody)
    print(f"{args.kills} kills, {acked} readings acknowledged, {rows} stored, {len(crises)} crises, {len(alerts)} episodes, "
          f"{distinct} deliveries ({sent} webhooks)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--meters", type=int, default=8)
    parser.add_argument("--rate", type=float, default=150.0, help="readings a second and meter")
    parser.add_argument("--keep", action="store_true", help="leave the folder of a failed run for inspection")
    args = parser.parse_args()
    args.seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    print(f"seed {args.seed}; again: tests/crash/kill9.py --kills {args.kills} --seed {args.seed} --meters {args.meters} --rate {args.rate:g}", flush=True)
    checks, service = Checks(), None
    try:
        service = Service()
        run(args, checks, service)
    except Broken as e:
        checks.that(False, "the run", str(e))
    finally:
        if service:
            keep = args.keep and checks.failed > 0
            service.close(keep)
            if keep:
                print(f"kept: {service.folder}")
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""kill -9 under load, at random moments and at named points: what was acknowledged is stored once, what was found is one episode.

    tests/crash/kill9.py [--kills 6] [--named 14] [--long] [--seed N] [--meters 24] [--point NAME] [--keep]

Meters with an outbox pipeline readings over MQTT 3.1.1 and 5 while the release binary is killed and started again;
around each kill one patient has a crisis (two confirming pressures, or one severe low). In the end the clients' own
lists are compared with `hearthbeat export`, with the day's books, with findings, episodes and the webhooks caught; then
everything is sent again, and nothing may have changed but the number of duplicates.
First --kills by SIGKILL at random moments; then, in an installation of its own, --named deaths at the points of POINTS, each
reached a random number of times (HEARTHBEAT_CRASH_AT, which wants a test clock). --long: 100 and 100.
Prints the seed and the command that repeats the run; the last line is `N passed, N failed`.
"""
import argparse
import collections
import datetime
import os
import random
import resource
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "outside"))
sys.dont_write_bytecode = True
from compare import Checks, compare_books, compare_findings, compare_messages, compare_readings, ordinary  # noqa: E402
from meter import CST, Meter  # noqa: E402
from service import Broken, Service, until  # noqa: E402

MORNING = datetime.datetime(2026, 3, 2, 8, 0, tzinfo=CST)
# Where the process dies, and up to how many passes it takes: enough to be anywhere in the load, few enough to be reached.
POINTS = {
    "journal.before_commit": 40, "journal.after_commit": 40, "journal.frozen": 2, "journal.mid_merge": 30, "journal.before_merged": 2,
    "journal.after_merged": 2, "journal.before_checkpoint": 3, "journal.after_checkpoint": 3, "registry.before_commit": 10,
    "registry.after_commit": 10, "rules.before_commit": 2, "rules.after_commit": 2, "alerts.before_commit": 1, "alerts.after_commit": 1,
    "outbox.before_send": 2, "outbox.after_send": 2, "outbox.after_mark": 2,
}
HURRY = {"HEARTHBEAT_MERGE_AT": "400:80"}
ARMED_WAIT = 20.0               # seconds for a point to be reached; then it is an ordinary kill -9


def crisis(kind, now):
    """Two pressures over 180/110 two minutes apart, or one glucose below 3.0, measured just before `now`."""
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
        make, last = crisis(concept, datetime.datetime.now(CST).replace(microsecond=0))
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


def named_storm(service, meters, patients, deaths, dice, only):
    """Dies at one point after another. The crisis meters, with their concept; and how often each point was reached."""
    crises, reached = [], collections.Counter()
    points = [only] if only else dice.sample(list(POINTS), len(POINTS))
    for number in range(deaths):
        point = points[number % len(points)]
        service.environment = {**HURRY, "HEARTHBEAT_CRASH_AT": f"{point}:{dice.randint(1, POINTS[point])}"}
        (device, secret), concept = patients[number], dice.choice(["bp_crisis", "glucose_low_severe"])
        make, last = crisis(concept, MORNING)
        meter = Meter(service.mqtt, device, secret, make, version=4 + number % 2, last=last, seed=number)
        crises.append((meter, concept))
        try:
            service.start()
        except Broken:
            if service.process.poll() is None:
                raise                               # it did not die, it does not start
        meter.start()
        try:
            until("the point", ARMED_WAIT, lambda: service.process.poll() is not None, 0.005)
            if service.process.returncode != -6:    # abort: the point
                raise Broken(f"{point}: ended with {service.process.returncode}: {service.tail()}")
            reached[point] += 1
        except Broken:
            if service.process.poll() is not None:
                raise
            service.kill()
    service.environment = dict(HURRY)
    service.start()
    return crises, reached


def finish(checks, meters):
    for m in meters:
        m.ending.set()
    for m in meters:
        m.join(60)
        checks.that(not m.trouble, f"{m.device} is served", m.trouble)
        checks.that(not m.is_alive() and not m.waiting, f"{m.device} gets every PUBACK in the end", f"{len(m.waiting)} messages still wait")


def all_told(service, alerts):
    with service.sink.lock:
        told = {(m["data"]["alertId"], m["data"]["recipient"]["address"]) for _, _, m in service.sink.messages if m.get("type") == "alert.notification"}
    return all((a, who) in told for a in alerts for who in ("gp", "manager"))


def compare(checks, service, everybody, crises, days):
    """Everything that was promised of the clients' lists."""
    patient_of = {}
    for meter, _ in crises:
        patient_of[meter.device] = service.ask("GET", f"/api/v1/devices/{meter.device}/bindings")["items"][0]["patientId"]

    def open_alerts():
        found = {a["patientId"]: a["id"] for a in service.items("/api/v1/alerts?state=all&limit=200") if a["severity"] == "critical"}
        return found if all(patient_of[m.device] in found for m, _ in crises) else None
    try:
        found = until("an episode for every crisis", 60, open_alerts, 0.2)
        until("every level-1 message", 60, lambda: all_told(service, found.values()), 0.1)
    except Broken as e:
        checks.that(False, "crises are told", str(e))
    alerts = compare_findings(checks, service, crises, patient_of)
    sent, distinct = compare_messages(checks, service, alerts)
    rows = compare_readings(checks, service, everybody)
    compare_books(checks, service, everybody, rows, days)
    return rows, f"{len(alerts)} episodes, {distinct} deliveries ({sent} webhooks)"


def send_again(checks, service, homes, everybody, crises, rows, days):
    """Everything once more: nothing new is stored, found or told, and the books count each as a duplicate."""
    before, _ = service.books(days)
    episodes = len(service.items("/api/v1/alerts?state=all&limit=200"))
    secrets = dict(homes)
    twins = [Meter(service.mqtt, m.device, secrets[m.device], m.make, version=m.version, window=50, per_message=10, rate=20_000, last=max(m.sent)) for m in everybody]
    for m in twins:
        m.start()
    for m in twins:
        m.join(120)
    checks.that(not any(m.trouble or m.waiting for m in twins), "everything sent again is acknowledged")
    after, _ = service.books(days)
    again = sum(len(m.sent) for m in twins)
    checks.that(after["duplicate"] - before["duplicate"] == again, "sent again, each is a duplicate", f"{after['duplicate'] - before['duplicate']} of {again}")
    checks.that(after["stored"] == before["stored"] == rows, "sent again, nothing new is stored", f"{rows} before, {after['stored']} after")
    checks.that(compare_readings(checks, service, everybody) == rows, "sent again, the rows are the same")
    checks.that(len(service.items("/api/v1/alerts?state=all&limit=200")) == episodes, "sent again, no new episode")


def run(args, checks, service, deaths, named):
    dice = random.Random(f"{args.seed}/{named}")
    begun = MORNING if named else datetime.datetime.now(CST)
    service.start()
    team = service.district()["team"]
    homes = service.enrol(team, args.meters + deaths)
    start = begun.replace(microsecond=0) - datetime.timedelta(hours=20)
    meters = [Meter(service.mqtt, device, secret, ordinary(start), version=4 + n % 2, per_message=1 + 2 * (n % 3), rate=args.rate / 5 if named else args.rate, last=60_000, seed=args.seed)
              for n, (device, secret) in enumerate(homes[:args.meters])]
    if named:
        service.kill()
    for m in meters:
        m.start()
    if named:
        crises, reached = named_storm(service, meters, homes[args.meters:], deaths, dice, args.point)
        print(f"  reached {reached.total()} of {deaths}: {', '.join(f'{p} {n}' for p, n in sorted(reached.items()))}", flush=True)
        checks.that(reached.total() >= deaths * 0.7, "the named points are reached", f"{reached.total()} of {deaths}")
    else:
        crises = storm(service, meters, homes[args.meters:], deaths, dice)
    everybody = meters + [m for m, _ in crises]
    for meter, _ in crises:
        meter.join(60)      # it ends by itself once its crisis is acknowledged, however often the service died before
    finish(checks, everybody)
    days = [MORNING.date().isoformat()] if named else sorted({begun.date().isoformat(), datetime.datetime.now(CST).date().isoformat()})
    rows, told = compare(checks, service, everybody, crises, days)
    send_again(checks, service, homes, everybody, crises, rows, days)
    checks.that(service.stop() == 0, "a clean stop at the end")
    recount = service.run("audit", "books", "--data-dir", service.data)
    checks.that(recount.returncode == 0, "`audit books` finds them right", recount.stderr[-300:])
    acked = sum(len(m.acked) for m in everybody)
    print(f"{deaths} {'named points' if named else 'kills'}, {acked} readings acknowledged, {rows} stored, {len(crises)} crises, {told}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=6, help="SIGKILL at random moments")
    parser.add_argument("--named", type=int, default=14, help="deaths at named points")
    parser.add_argument("--point", choices=sorted(POINTS), help="only this one")
    parser.add_argument("--long", action="store_true", help="100 and 100")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--meters", type=int, default=None, help="24; 96 with --long, so that no patient has thousands of readings in minutes")
    parser.add_argument("--rate", type=float, default=None, help="readings a second and meter; a fifth of it at named points, which take longer")
    parser.add_argument("--keep", action="store_true", help="leave the folder of a failed run for inspection")
    args = parser.parse_args()
    args.seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1_000_000)
    if args.long:
        args.kills = args.named = 100
    args.meters = args.meters or (96 if args.long else 24)
    args.rate = args.rate or (6.0 if args.long else 30.0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))        # a death at a named point is an abort
    point = f" --point {args.point}" if args.point else ""
    print(f"seed {args.seed}; again: tests/crash/kill9.py --kills {args.kills} --named {args.named}{point} --seed {args.seed} "
          f"--meters {args.meters} --rate {args.rate:g}", flush=True)
    checks = Checks()
    for deaths, named in ((args.kills, False), (args.named, True)):
        service, broken = None, checks.failed
        try:
            if deaths:
                clock = ["--test-clock", f"manual={MORNING.isoformat()}"] if named else []
                service = Service(arguments=clock, environment=dict(HURRY) if named else {})
                run(args, checks, service, deaths, named)
        except Broken as e:
            checks.that(False, "the run", str(e))
        finally:
            if service:
                keep = args.keep and checks.failed > broken
                service.close(keep)
                if keep:
                    print(f"kept: {service.folder}")
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Power cuts: whatever the disk had not been told to keep may be gone, reordered or torn; what was acknowledged is there.

    tests/crash/powerloss.py [--seeds 100] [--long] [--seed 1] [--only N] [--trace NAME]

Loads the real binary under recorder.c, three times: single readings; batches with merges and checkpoints all the time,
ended by a clean stop; crises, people being written down and a slow disk. Then for every seed: a moment of one of these runs
at which the power fails, one folder that the disk could show after it (disk.py), and the questions:
- `hearthbeat export` tells every reading acknowledged before the cut exactly once, with its values, and none that nobody sent;
- both databases pass SQLite's integrity check, `hearthbeat audit verify` its chain, `hearthbeat audit books` its recount;
- everybody whose creation was answered, and every delivery that a receiver has seen, is still known under its id;
- rules have not concluded readings that are no longer there.
Some of the folders (--restarts of 100) are started again, everything is sent again, and the counts, the books, the episodes
and the deliveries are compared. Traces of a failed run stay in target/crash. The last line is `N passed, N failed`.
"""
import argparse
import bisect
import collections
import concurrent.futures
import datetime
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "outside"), HERE]
sys.dont_write_bytecode = True
import disk  # noqa: E402
from compare import Checks, ordinary, same  # noqa: E402
from meter import CST, Meter  # noqa: E402
from service import BINARY, Broken, Service, until  # noqa: E402

KEPT = os.path.join(disk.ROOT, "target/crash")
MORNING = datetime.datetime(2026, 3, 2, 8, 0, tzinfo=CST)


class Load:
    """One way of using the service while it is recorded."""

    def __init__(self, name, meters, per_message, rate, hurry, delay_us=0, people=0, crises=0, clean=False):
        self.name, self.meters, self.per_message, self.rate, self.hurry = name, meters, per_message, rate, hurry
        self.delay_us, self.people, self.crises, self.clean = delay_us, people, crises, clean


LOADS = [
    Load("singles", meters=6, per_message=1, rate=60, hurry="2000:400", people=3, crises=2),
    Load("merges", meters=24, per_message=7, rate=50, hurry="250:60", crises=1, clean=True),
    Load("crises", meters=3, per_message=2, rate=40, hurry="150:40", delay_us=2000, people=12, crises=6),
]


def crisis(seq):
    at = (MORNING - datetime.timedelta(minutes=6 - 2 * seq)).isoformat()
    return {"kind": "blood_pressure", "time": at, "systolic": 185 + seq, "diastolic": 111 + seq, "pulse": 90, "unit": "mmHg"}


class Recording:
    """A trace and what the outside saw meanwhile, on the same clock."""

    def __init__(self, load, service, trace):
        self.load, self.service, self.path = load, service, trace
        self.acks, self.sent, self.people, self.begun, self.homes = [], {}, [], 0, []

    def write_down(self, meters):
        self.acks = sorted((at, m.device, seq) for m in meters for at, seqs in m.acks for seq in seqs)
        self.sent = {m.device: max(m.sent) for m in meters if m.sent}
        self.made = {m.device: m.make for m in meters}
        with self.service.sink.lock:
            self.hooks = list(zip(self.service.sink.times, self.service.sink.messages))
        self.trace = disk.Trace(self.path)


def record(load, seed, seconds, scratch):
    folder = os.path.join(scratch, load.name)
    os.makedirs(folder)
    trace = os.path.join(scratch, f"{load.name}.trace")
    shim = {"LD_PRELOAD": disk.recorder(), "HEARTHBEAT_RECORD_BELOW": folder, "HEARTHBEAT_RECORD_TO": trace,
            "HEARTHBEAT_SYNC_DELAY_US": str(load.delay_us), "HEARTHBEAT_MERGE_AT": load.hurry}
    service = Service(arguments=["--test-clock", f"manual={MORNING.isoformat()}"], environment=shim, folder=folder)
    recording = Recording(load, service, trace)
    recording.begun = time.monotonic_ns()       # `init` has ended: from here on a cut may lose nothing that it said
    service.start()
    team = service.district()["team"]
    recording.homes = service.enrol(team, load.meters + load.crises)
    recording.enrolled = time.monotonic_ns()
    start = MORNING - datetime.timedelta(hours=20)
    meters = [Meter(service.mqtt, device, secret, ordinary(start), version=4 + n % 2, per_message=load.per_message, rate=load.rate, last=30_000, seed=seed)
              for n, (device, secret) in enumerate(recording.homes[:load.meters])]
    ill = [Meter(service.mqtt, device, secret, crisis, last=2, seed=seed) for device, secret in recording.homes[load.meters:]]
    recording.ill = [m.device for m in ill]
    write = threading.Thread(target=write_people, args=(service, team, load.people, seconds, recording), daemon=True)
    for m in meters:
        m.start()
    write.start()
    for m in ill:
        time.sleep(seconds / (len(ill) + 1))        # load lasts a while: that is what is recorded
        m.start()
    time.sleep(seconds / (len(ill) + 1))
    for m in meters:
        m.ending.set()
    for m in meters + ill + [write]:
        m.join(60)
    trouble = [m.trouble or f"{m.device}: {len(m.waiting)} without PUBACK" for m in meters + ill if m.trouble or m.waiting]
    if trouble:
        raise Broken(f"{load.name}: {trouble[0]}")
    if load.clean:
        service.stop()
    else:
        service.kill()
    recording.write_down(meters + ill)
    return recording


def write_people(service, team, count, seconds, recording):
    for n in range(count):
        service.ask("POST", "/api/v1/patients", {"name": f"Later {n}", "birthDate": "1950-01-01", "sex": "male", "teamId": team})
        recording.people.append((time.monotonic_ns(), f"Later {n}"))
        time.sleep(seconds / (count + 1))


def moments(recording):
    """Cuts worth trying: lists of operations before which the power fails, by what makes them so."""
    trace, handles = recording.trace, {}
    first = next((i for i in range(trace.ops) if trace.head(i)[0] > recording.begun), trace.ops)
    syncs, after, copying, names = [], [], [], []
    for i in range(trace.ops):
        _, _, op, handle, _, _ = trace.head(i)
        if op == disk.OPEN:
            handles[handle] = bytes(trace.op(i)[5]).decode()
        if i < first:
            continue
        if op == disk.SYNC:
            syncs.append(i)
            after.append(i + 1)
        elif op == disk.WRITE and handles[handle].endswith("journal.db"):
            copying.append(i)
        elif op in (disk.RENAME, disk.UNLINK, disk.TRUNCATE):
            names.append(i)
    return [list(range(first, trace.ops + 1))] * 4 + [syncs] * 3 + [after, copying or syncs, copying or syncs, names or syncs]


def cuts(recording, seeds, master):
    """(operation, seed) in order."""
    kinds = moments(recording)
    return sorted((random.Random(f"{master}/{seed}/when").choice(random.Random(f"{master}/{seed}/kind").choice(kinds)), seed) for seed in seeds)


def ask_binary(*arguments):
    done = subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise Broken(f"`{' '.join(arguments[:2])}` exits {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout


def export(data, table="readings"):
    return [json.loads(line) for line in ask_binary("export", "--data-dir", data, "--table", table, "--format", "jsonl").splitlines()]


def judge(recording, moment, data):
    """Everything wrong with the folder `data`, given that the power failed at `moment`."""
    faults = []
    try:
        rows = export(data)
        faults += judge_readings(recording, moment, rows)
        if export(data, "quarantine"):
            faults.append("something good is quarantined")
        known = {d["id"] for d in export(data, "deliveries")}
        gone = {key for at, (key, _, _) in recording.hooks if at < moment} - known
        if gone:
            faults.append(f"{len(gone)} deliveries that a receiver has seen are unknown, first {sorted(gone)[0]}")
        ask_binary("audit", "verify", "--data-dir", data)
        ask_binary("audit", "books", "--data-dir", data)
        faults += judge_files(recording, moment, data)
    except (Broken, sqlite3.Error, subprocess.TimeoutExpired) as e:
        faults.append(str(e))
    return faults


def judge_readings(recording, moment, rows):
    faults, stored = [], collections.Counter((r["device"], int(r["seq"])) for r in rows)
    end = bisect.bisect_left(recording.acks, (moment,))
    lost = [(d, s) for _, d, s in recording.acks[:end] if (d, s) not in stored]
    if lost:
        faults.append(f"{len(lost)} of {end} acknowledged readings LOST, first {lost[:3]}")
    twice = [k for k, n in stored.items() if n > 1]
    if twice:
        faults.append(f"{len(twice)} readings stored twice, first {twice[:3]}")
    strange = [k for k in stored if k[1] > recording.sent.get(k[0], 0)]
    if strange:
        faults.append(f"readings that nobody sent: {strange[:3]}")
    wrong = [(r["device"], r["seq"]) for r in rows if not same(r, recording.made[r["device"]](int(r["seq"])))]
    if wrong:
        faults.append(f"{len(wrong)} readings with other values, first {wrong[:3]}")
    return faults


def judge_files(recording, moment, data):
    faults, highest = [], 0
    for name in ("journal.db", "registry.db"):
        c = sqlite3.connect(os.path.join(data, name))
        found = c.execute("PRAGMA integrity_check").fetchall()
        if found != [("ok",)]:
            faults.append(f"{name}: {found[:2]}")
        if name == "journal.db":
            highest = c.execute("SELECT coalesce(max(id), 0) FROM held").fetchone()[0]
            for half in ("j0", "j1"):
                # A row has many lines, and says in bytes 1 to 4 how many; their ids go up by one.
                for first, lines in c.execute(f"SELECT id, b FROM {half} ORDER BY id DESC LIMIT 1"):
                    highest = max(highest, first + int.from_bytes(lines[1:5], "little") - 1)
            # A row of `place` has up to 64 ids, 19 bytes each, of which the first is the id's place in the row.
            for block, places in c.execute("SELECT block, b FROM place ORDER BY block DESC LIMIT 1"):
                highest = max(highest, block * 64 + places[-19])
        else:
            bodies = "\n".join(b for b, in c.execute("SELECT body FROM patient"))
            lost = [n for at, n in recording.people if at < moment and f'"{n}"' not in bodies]
            if lost:
                faults.append(f"people whose creation was answered are unknown: {lost[:3]}")
            devices = c.execute("SELECT count(*) FROM device").fetchone()[0]
            if moment > recording.enrolled and devices != len(recording.homes):
                faults.append(f"{devices} devices of {len(recording.homes)}")
            position = c.execute("SELECT coalesce(max(position), 0) FROM rules_position").fetchone()[0]
            if position > highest:
                faults.append(f"rules have concluded up to {position}, the journal ends at {highest}")
        c.close()
    return faults


def restart(recording, moment, data):
    """The folder is started again and everything is sent again."""
    faults, service = [], recording.service
    if moment < recording.enrolled:
        return faults
    service.data, service.environment = data, {"HEARTHBEAT_MERGE_AT": recording.load.hurry}
    begun = time.monotonic_ns()
    try:
        service.start()
        meters = [Meter(service.mqtt, device, secret, recording.made[device], per_message=10, window=50, rate=20_000, last=recording.sent[device])
                  for device, secret in recording.homes if device in recording.sent]
        for m in meters:
            m.start()
        for m in meters:
            m.join(90)
        faults += [m.trouble or f"{m.device}: no PUBACK after the restart" for m in meters if m.trouble or m.waiting]
        rows, expected = service.export(), sum(recording.sent.values())
        faults += judge_readings(recording, moment, rows)
        if len(rows) != expected:
            faults.append(f"{len(rows)} stored of {expected} sent")
        total, _ = service.books([MORNING.date().isoformat()])
        if total["accepted"] != total["stored"] + total["duplicate"] + total["quarantined"] + total["rejected"] or total["stored"] != expected:
            faults.append(f"the books: {total}, sent {expected}")
        faults += judge_pages(recording, moment, begun)
        if service.stop() != 0:
            faults.append("no clean stop after the restart")
        ask_binary("audit", "books", "--data-dir", data)
    except (Broken, OSError, subprocess.TimeoutExpired) as e:
        faults.append(f"restart: {e}")
        if service.process.poll() is None:
            service.kill()
    return faults


def judge_pages(recording, moment, begun):
    """Each crisis is one episode that level 1 was told of, each recipient under one id, over cut and restart."""
    faults, service = [], recording.service
    patient = {d: service.ask("GET", f"/api/v1/devices/{d}/bindings")["items"][0]["patientId"] for d in recording.ill}

    def found():
        alerts = [a for a in service.items("/api/v1/alerts?state=all&limit=200") if a["severity"] == "critical"]
        return alerts if {a["patientId"] for a in alerts} >= set(patient.values()) else None
    alerts = until("an episode for every crisis after the restart", 90, found, 0.1)
    if len(alerts) != len(patient):
        faults.append(f"{len(alerts)} episodes for {len(patient)} crises")

    def told():
        with service.sink.lock:
            both = list(zip(service.sink.times, service.sink.messages))
        ids = collections.defaultdict(set)
        for at, (key, _, message) in both:
            if message.get("type") == "alert.notification" and (at < moment or at > begun):
                ids[(message["data"]["alertId"], message["data"]["recipient"]["address"])].add(key)
        return ids if all((a["id"], who) in ids for a in alerts for who in ("gp", "manager")) else None
    ids = until("level 1 of every crisis", 30, told, 0.05)
    split = [k for k, keys in ids.items() if len(keys) > 1]
    if split:
        faults.append(f"{len(split)} deliveries under more than one webhook-id, first {split[0]}")
    return faults


def again(args, seed):
    return f"tests/crash/powerloss.py --seed {args.seed} --seeds {args.seeds} --only {seed} --trace {KEPT}"


def sweep(args, checks, recording, seeds, scratch, pool):
    """One pass over a trace: at each cut the disk's image, judged beside the pass."""
    state, at, waiting = disk.Disk(), 0, collections.deque()
    every = max(1, round(100 / max(args.restarts, 1)))

    def settle(limit):
        while len(waiting) > limit:
            seed, cut, said, target, faults = waiting.popleft()
            verdict(args, checks, recording, seed, cut, said, faults.result())
            shutil.rmtree(target, ignore_errors=True)

    for cut, seed in cuts(recording, seeds, args.seed):
        while at < cut:
            state.run(recording.trace.op(at))
            at += 1
        moment = recording.trace.head(cut)[0] if cut < recording.trace.ops else time.monotonic_ns()
        target = os.path.join(scratch, f"cut-{seed}")
        said = state.image(os.path.join(recording.service.folder, "data"), target, random.Random(f"{args.seed}/{seed}/disk"))
        waiting.append((seed, cut, said, target, pool.submit(judge, recording, moment, target)))
        if args.restarts and seed // len(LOADS) % every == every // 2:
            waiting[-1][4].result()
            faults = restart(recording, moment, target)
            checks.that(not faults, f"seed {seed}, started again", f"{'; '.join(faults)}\n        again: {again(args, seed)}")
        settle(2)
    settle(0)


def control(checks, recording, scratch):
    """The same on a disk that forgets the journal's fsyncs: unless that is found out, the rest proves nothing."""
    state, found = disk.Disk(lies=["journal.db-wal"]), []
    for i in range(recording.trace.ops):
        state.run(recording.trace.op(i))
    for n in range(5):
        target = os.path.join(scratch, "control")
        state.image(os.path.join(recording.service.folder, "data"), target, random.Random(f"control/{n}"))
        found += judge(recording, time.monotonic_ns(), target)
    checks.that(any("LOST" in f for f in found), "a disk that lies about fsync is found out", str(found[:1]))


def verdict(args, checks, recording, seed, cut, said, faults):
    where = f"{recording.load.name}, before operation {cut} of {recording.trace.ops}: {said}"
    checks.that(not faults, f"seed {seed}", f"{'; '.join(faults)}\n        {where}\n        again: {again(args, seed)}")


def keep(recordings):
    """What a failed run needs to be looked at again."""
    os.makedirs(KEPT, exist_ok=True)
    for r in recordings:
        shutil.copy(r.path, os.path.join(KEPT, f"{r.load.name}.trace"))
        with open(os.path.join(KEPT, f"{r.load.name}.json"), "w") as f:
            json.dump({"folder": r.service.folder, "begun": r.begun, "enrolled": r.enrolled, "homes": r.homes, "ill": r.ill, "acks": r.acks, "sent": r.sent,
                       "people": r.people, "hooks": [(at, key) for at, (key, _, _) in r.hooks], "admin": r.service.admin}, f)


def kept(load, folder):
    """A recording of an earlier run; without its service, so nothing is started again."""
    with open(os.path.join(folder, f"{load.name}.json")) as f:
        told = json.load(f)
    r = Recording(load, argparse.Namespace(folder=told["folder"], close=lambda: None), os.path.join(folder, f"{load.name}.trace"))
    r.begun, r.enrolled, r.homes, r.ill, r.sent = told["begun"], told["enrolled"], told["homes"], told["ill"], told["sent"]
    r.acks, r.people = [tuple(a) for a in told["acks"]], [tuple(p) for p in told["people"]]
    r.hooks = [(at, (key, None, None)) for at, key in told["hooks"]]
    r.made = {d: crisis if d in r.ill else ordinary(MORNING - datetime.timedelta(hours=20)) for d in r.sent}
    r.trace = disk.Trace(r.path)
    return r


def run(args, checks, scratch):
    recordings = []
    try:
        for number, load in enumerate(LOADS):
            if args.trace:
                recordings.append(kept(load, args.trace))
                continue
            begun = time.monotonic()
            recordings.append(record(load, args.seed + number, args.seconds, scratch))
            r = recordings[-1]
            syncs = sum(r.trace.head(i)[2] == disk.SYNC for i in range(r.trace.ops))
            print(f"  {load.name}: {len(r.acks)} readings acknowledged, {len(r.hooks)} webhooks, {r.trace.ops} operations ({syncs} fsyncs), "
                  f"{len(r.trace.bytes) >> 20} MiB, {time.monotonic() - begun:.0f} s", flush=True)
        control(checks, recordings[0], scratch)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            for number, r in enumerate(recordings):
                seeds = [s for s in range(args.seeds) if s % len(LOADS) == number and args.only in (None, s)]
                begun = time.monotonic()
                sweep(args, checks, r, seeds, scratch, pool)
                print(f"  {r.load.name}: {len(seeds)} power cuts, {time.monotonic() - begun:.0f} s", flush=True)
        if checks.failed and not args.trace:
            keep(recordings)
    finally:
        for r in recordings:
            r.service.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="power cuts")
    parser.add_argument("--long", action="store_true", help="1,000 power cuts")
    parser.add_argument("--seed", type=int, default=1, help="the dice of the whole run")
    parser.add_argument("--only", type=int, help="one power cut of a run")
    parser.add_argument("--trace", help="folder with the traces that a failed run left")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each load lasts")
    parser.add_argument("--restarts", type=int, default=6, help="of 100 folders so many are started again; 0 is none")
    args = parser.parse_args()
    args.seeds = 1000 if args.long else args.seeds
    args.restarts = 0 if args.trace else args.restarts
    print(f"seed {args.seed}; again: tests/crash/powerloss.py --seeds {args.seeds} --seed {args.seed}", flush=True)
    checks = Checks()
    room = "/dev/shm" if os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 1 << 30 else None
    scratch = tempfile.mkdtemp(prefix="hearthbeat-powerloss-", dir=room)
    try:
        run(args, checks, scratch)
    except Broken as e:
        checks.that(False, "the run", str(e))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()

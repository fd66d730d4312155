#!/usr/bin/env python3
"""Outages told one by one: what each does to PUBACK, /livez, /readyz, memory and paging (docs/operations.md has the table).

    tests/crash/outages.py [--only NAME]

- a failed fsync of the journal, of its file, of the registry: exit 1, a line that says so, never tried again; nothing
  acknowledged is lost, and the next start goes on (recorder.c fails one fsync of a chosen file)
- a slow fsync (2 ms and 20 ms each): everything is acknowledged, later
- a journal whose tail is torn, garbage, or cut away: what was acknowledged and is still whole is there; a file whose body
  is damaged is refused at the start, loudly, and left as it is
- a read-only folder: refused at the start by name; a disk that turns read-only ends the process as a failed fsync does
- a full disk: no PUBACK, memory stands still, a page that waited for its receiver is sent, once; then everything goes on
- a receiver that never answers: readings and other people's pages do not wait for it
The last line is `N passed, N failed`.
"""
import argparse
import datetime
import http.server
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "outside"), HERE]
sys.dont_write_bytecode = True
import disk  # noqa: E402
from compare import Checks, ordinary  # noqa: E402
from meter import CST, Line, Meter, publish_packet  # noqa: E402
from service import BINARY, PASSWORD, SECRET, Broken, Service, until  # noqa: E402

NOW = datetime.datetime.now(CST).replace(microsecond=0)
START = NOW - datetime.timedelta(hours=20)


def shim(service, **more):
    """Loads the recorder below `service`; returns the file in which a fault is wished for and the trace."""
    wish, trace = os.path.join(service.folder, "wish"), os.path.join(service.folder, "trace")
    open(wish, "w").close()
    service.environment = {"LD_PRELOAD": disk.recorder(), "HEARTHBEAT_RECORD_BELOW": service.data, "HEARTHBEAT_SYNC_FAULT": wish,
                           "HEARTHBEAT_RECORD_TO": trace, **more}
    return wish, trace


def prepared(count=2):
    service = Service()
    service.start()
    team = service.district()["team"]
    return service, service.enrol(team, count)


def send(service, home, last, **more):
    meter = Meter(service.mqtt, *home, ordinary(START), last=last, **{"rate": 400, **more})
    meter.start()
    return meter


def sent(service, home, last, **more):
    meter = send(service, home, last, **more)
    meter.join(60)
    if meter.trouble or meter.waiting:
        raise Broken(meter.trouble or f"{len(meter.waiting)} without PUBACK")
    return meter


def concluded(service):
    """Up to which position the registry has conclusions."""
    c = sqlite3.connect(f"file:{os.path.join(service.data, 'registry.db')}?mode=ro", uri=True)
    found = c.execute("SELECT coalesce(max(position), 0) FROM rules_position").fetchone()[0]
    c.close()
    return found


def stored(service, device):
    return sorted(int(r["seq"]) for r in service.export() if r["device"] == device)


def memory(service):
    with open(f"/proc/{service.process.pid}/status") as f:
        return next(int(line.split()[1]) // 1024 for line in f if line.startswith("VmRSS"))


def whole(checks, service, meter, name):
    """Starts again: every acknowledged reading is there once, and the meter's rest comes after it."""
    service.environment = {}
    service.start()
    meter.join(60)
    numbers = stored(service, meter.device)
    checks.that(not meter.waiting and meter.acked <= set(numbers), f"{name}: after a start everything acknowledged is there", f"{len(meter.acked)} and {len(numbers)}")
    checks.that(len(numbers) == len(set(numbers)), f"{name}: and once")


def failed_fsync(checks, name):
    """One fsync of `name` answers EIO."""
    service, homes = prepared()
    try:
        service.kill()
        wish, trace = shim(service)
        service.environment["HEARTHBEAT_MERGE_AT"] = "300:40"
        service.arguments = ["--test-clock", f"manual={NOW.isoformat()}"]
        service.start()
        meter = send(service, homes[0], 20_000, rate=600)
        until("readings", 20, lambda: len(meter.acked) > 50)
        with open(wish, "w") as f:
            f.write(name)
        if name.startswith("registry"):
            write_much(service, name)
        until(f"the end after a failed fsync of {name}", 40, lambda: service.process.poll() is not None)
        checks.that(service.process.returncode == 1, f"{name}: exit 1", str(service.process.returncode))
        said = service.tail(3000)
        checks.that(any(word in said for word in ("fsync", "sync")) and "ends now" in said, f"{name}: a line says so", said[-300:])
        ok, after = never_again(trace)
        checks.that(ok, f"{name}: nothing is synced in that file after it", after)
        meter.last = len(meter.sent)
        whole(checks, service, meter, name)
        checks.that(service.stop() == 0, f"{name}: a clean stop afterwards")
    finally:
        service.close()


def write_much(service, name):
    """Writes into the registry until the wish is taken; its checkpoint wants 2,000 pages."""
    def one(n):
        try:
            service.ask("POST", "/api/v1/patients", {"name": f"P{n}", "birthDate": "1950-01-01", "sex": "male", "address": "x" * 200})
        except (Broken, OSError, ValueError):
            pass
    for n in range(20 if name.endswith("-wal") else 4000):
        if service.process.poll() is not None:
            return
        one(n)


def never_again(path):
    trace, names, failed = disk.Trace(path), {}, None
    for i in range(trace.ops):
        _, _, op, handle, _, data = trace.op(i)
        if op == disk.OPEN:
            names[handle] = bytes(data).decode()
        elif op == disk.SYNC_FAILED:
            failed = names[handle]
        elif op == disk.SYNC and failed and names.get(handle) == failed:
            return False, f"{os.path.basename(failed)} was synced again"
    return failed is not None, "" if failed else "no fsync failed"


def slow_fsync(checks):
    """Every fsync takes longer; nothing else changes."""
    service, homes = prepared()
    try:
        service.kill()
        for delay in (2, 20):
            shim(service, HEARTHBEAT_SYNC_DELAY_US=str(delay * 1000))
            del service.environment["HEARTHBEAT_RECORD_TO"]
            service.start()
            begun = time.monotonic()
            meter = sent(service, homes[delay == 20], 400, window=100, rate=4000)
            took = time.monotonic() - begun
            checks.that(len(meter.acked) == 400, f"fsync + {delay} ms: all acknowledged")
            checks.that(service.call("GET", "/readyz")[0] == 200, f"fsync + {delay} ms: ready")
            print(f"  fsync + {delay} ms: 400 readings in {took:.2f} s, {memory(service)} MiB", flush=True)
            service.kill()
        service.environment = {}
        service.start()
        checks.that(stored(service, homes[0][0]) == list(range(1, 401)), "slow fsync: all stored once")
    finally:
        service.close()


def torn_tail(checks):
    """The end of journal.db-wal: what was acknowledged and is whole is kept; what is not whole was never acknowledged or is told."""
    service = Service()
    try:
        service.start()
        homes = service.enrol(service.district()["team"], 2)
        meter = sent(service, homes[0], 200)
        until("rules have concluded them", 20, lambda: concluded(service) >= 200)
        service.kill()
        wal = os.path.join(service.data, "journal.db-wal")
        good = os.path.join(service.folder, "good")
        shutil.copytree(service.data, good)
        size = os.path.getsize(wal)

        def again(change):
            if service.process.poll() is None:
                service.kill()
            shutil.rmtree(service.data)
            shutil.copytree(good, service.data)
            with open(wal, "r+b") as f:
                change(f)
            service.start()
            return stored(service, meter.device)

        more = again(lambda f: (f.seek(size), f.write(os.urandom(5000))))
        checks.that(more == list(range(1, 201)), "garbage behind the last commit: everything is there", str(len(more)))
        torn = again(lambda f: (f.seek(size), f.write(b"\0" * 4096)))
        checks.that(torn == list(range(1, 201)), "half a page behind the last commit: everything is there", str(len(torn)))
        cut = again(lambda f: f.truncate(size - 8192))
        checks.that(cut == list(range(1, len(cut) + 1)) and len(cut) < 200, "a synced page is lost: a whole prefix is there, no hole, no half", str(len(cut)))
        checks.that("MISSING" in service.tail(20_000), "a synced page is lost: it is said at the start")
        ill = Meter(service.mqtt, *homes[1], crisis, last=2)
        ill.start()
        until("the page after a loss", 20, lambda: any(m[2].get("type") == "alert.notification" for m in list(service.sink.messages)))
        checks.that(True, "a synced page is lost: who falls ill afterwards is told of")
        middle = again(lambda f: (f.seek(size // 2), f.write(os.urandom(64))))
        checks.that(middle == list(range(1, len(middle) + 1)), "damage inside the log: a whole prefix", str(len(middle)))
        print(f"  of 200 acknowledged readings a lost last page leaves {len(cut)}, damage in the middle {len(middle)}", flush=True)
    finally:
        service.close()


def damaged_file(checks):
    """Damage in the database itself is refused, not repaired behind anybody's back."""
    service, homes = prepared()
    try:
        sent(service, homes[0], 50)
        service.stop()
        for name in ("journal.db", "registry.db"):
            path = os.path.join(service.data, name)
            c = sqlite3.connect(path)               # nothing in the log, so that the file itself is what is read
            c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            c.close()
            with open(path, "rb") as f:
                before = f.read()
            with open(path, "r+b") as f:
                f.write(b"\xff" * 100)
            done = subprocess.run([BINARY, "run", "--config", service.config, "--data-dir", service.data], capture_output=True, text=True, timeout=30)
            checks.that(done.returncode == 1 and name in done.stderr, f"damaged {name}: refused by name", f"{done.returncode}: {done.stderr[-200:]}")
            with open(path, "rb") as f:
                checks.that(f.read()[:100] == b"\xff" * 100, f"damaged {name}: left as it is")
            with open(path, "wb") as f:
                f.write(before)
        service.start()
        checks.that(stored(service, homes[0][0]) == list(range(1, 51)), "the undamaged files serve again")
    finally:
        service.close()


def turned_read_only(checks):
    """The kernel turns the disk read-only under the running service, as it does after an error of the disk."""
    service, homes = prepared()
    try:
        service.kill()
        wish, _ = shim(service)
        service.start()
        meter = send(service, homes[0], 20_000, rate=300)
        until("readings", 20, lambda: len(meter.acked) > 50)
        with open(wish, "w") as f:
            f.write("!")
        until("the end on a read-only disk", 30, lambda: service.process.poll() is not None)
        checks.that(service.process.returncode == 1 and "ends now" in service.tail(3000), "turned read-only: exit 1 and a line", service.tail(300))
        meter.last = len(meter.sent)
        whole(checks, service, meter, "turned read-only")
    finally:
        service.close()


class Mount:
    """A file system of its own for one folder; None where that is not allowed."""

    def __init__(self, folder, size="64m"):
        self.folder = folder
        os.makedirs(folder, exist_ok=True)
        self.there = os.geteuid() == 0 and subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode == 0

    def remount(self, how):
        return subprocess.run(["mount", "-o", f"remount,{how}", self.folder], capture_output=True).returncode == 0

    def close(self):
        for _ in range(100):
            if not self.there or subprocess.run(["umount", self.folder], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)


def read_only(checks):
    """A folder that cannot be written: at the start, and from one moment to the next."""
    folder = os.path.join("/tmp", f"hearthbeat-readonly-{os.getpid()}")
    mount = Mount(folder)
    if not mount.there:
        print("SKIPPED: a read-only folder: mount is not allowed here (root is needed)")
        os.rmdir(folder)
        return
    service = None
    try:
        os.makedirs(os.path.join(folder, "outside"))
        service = Service(folder=os.path.join(folder, "outside"))
        service.log.close()
        service.log = open(f"{folder}.log", "ab+")
        service.start()
        homes = service.enrol(service.district()["team"], 2)
        meter = sent(service, homes[0], 30)
        service.stop()
        checks.that(mount.remount("ro"), "remounted read-only")
        done = subprocess.run([BINARY, "run", "--config", service.config, "--data-dir", service.data], capture_output=True, text=True, timeout=30)
        checks.that(done.returncode == 1 and service.data in done.stderr and "ead-only" in done.stderr, "read-only folder: refused by name", f"{done.returncode}: {done.stderr[-300:]}")
        told = subprocess.run([BINARY, "export", "--data-dir", service.data, "--format", "jsonl"], capture_output=True, text=True, timeout=30)
        print(f"  export from a read-only folder: exit {told.returncode}, {len(told.stdout.splitlines())} rows {told.stderr.strip()[-160:]}", flush=True)
        mount.remount("rw")
        service.start()
        sent(service, homes[0], 30)
        checks.that(len(meter.acked) == 30 and len(stored(service, homes[0][0])) == 30, "writable again: everything is there")
    finally:
        if service:
            service.close()
        mount.close()
        shutil.rmtree(folder, ignore_errors=True)
        os.path.exists(f"{folder}.log") and os.unlink(f"{folder}.log")


class Moody:
    """Refuses until it is told to accept; remembers what it accepted."""

    def __init__(self):
        self.accepts, self.refused, self.accepted = False, 0, []
        moody = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self.rfile.read(int(self.headers.get("content-length", 0)))
                if moody.accepts:
                    moody.accepted.append(self.headers["webhook-id"])
                else:
                    moody.refused += 1
                self.send_response(200 if moody.accepts else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def fill(folder):
    """Nothing fits into this file system any more. The file to delete."""
    path = os.path.join(folder, "filler")
    with open(path, "wb", buffering=0) as f:
        for size in (65536, 4096, 1):
            try:
                while f.write(b"x" * size) == size:
                    pass
            except OSError:
                pass
    return path


def full_disk(checks):
    """The disk is full while a page waits for its receiver: it is sent, once; meters wait; then everything goes on."""
    folder, moody, service = f"/tmp/hearthbeat-full-{os.getpid()}", Moody(), None
    mount = Mount(folder, "40m")
    try:
        if not mount.there:
            print("SKIPPED: a full disk: mount is not allowed here (root is needed)")
            return
        os.makedirs(os.path.join(folder, "outside"))
        config = f'[alerts]\nretry_first_seconds = 1\nretry_longest_seconds = 1\n[alerts.channels.moody]\nkind = "webhook"\nurl = "{moody.url}"\nsecret = "{SECRET}"\n'
        service = Service(config=config, folder=os.path.join(folder, "outside"))
        service.log.close()
        service.log = open(f"{folder}.log", "ab+")
        service.start()
        ids = service.district()
        who = service.ask("POST", "/api/v1/users", {"username": "moody", "name": "Moody", "roles": ["gp"], "organisationId": ids["station"],
                                                    "password": PASSWORD, "contacts": [{"channel": "moody", "address": "moody"}]})["id"]
        team = service.ask("POST", "/api/v1/teams", {"name": "moody", "organisationId": ids["station"], "members": [
            {"userId": who, "role": "gp"}, {"userId": ids["manager"], "role": "health_manager"}]})["id"]
        homes = service.enrol(team, 2)
        Meter(service.mqtt, *homes[0], crisis, last=2).start()
        until("a refused page", 20, lambda: moody.refused > 0)
        filler = fill(folder)
        flood = send(service, homes[1], 30_000, rate=400)
        until("readyz says disk_full", 40, lambda: (a := service.call("GET", "/readyz?verbose"))[0] == 503 and "disk_full" in json.dumps(a[1]), 0.1)
        stuck, before = len(flood.acked), memory(service)
        moody.accepts = True
        until("the page on a full disk", 20, lambda: moody.accepted, 0.05)
        time.sleep(3)                               # time enough for six repetitions, which there must not be
        checks.that(len(moody.accepted) == 1, "full disk: an accepted page is not sent again", f"{len(moody.accepted)} times")
        checks.that(len(flood.acked) <= stuck + 400, "full disk: no PUBACK", f"{len(flood.acked) - stuck} more")
        checks.that(service.call("GET", "/livez")[0] == 200, "full disk: alive")
        checks.that(memory(service) - before < 64, "full disk: memory stands still", f"{memory(service) - before} MiB more")
        os.unlink(filler)
        flood.last = max(flood.sent)
        until("ready again", 30, lambda: service.call("GET", "/readyz")[0] == 200, 0.1)
        flood.join(60)
        checks.that(not flood.waiting and stored(service, homes[1][0]) == list(range(1, flood.last + 1)), "room again: everything is acknowledged and stored once")
        until("the note", 10, lambda: any(d["state"] == "accepted" and d["id"] in moody.accepted for d in service.export("deliveries")), 0.2)
        checks.that(len(moody.accepted) == 1, "room again: the delivery is written down, not repeated", f"{len(moody.accepted)} times")
    finally:
        if service:
            service.close()
        mount.close()
        moody.close()
        shutil.rmtree(folder, ignore_errors=True)
        if os.path.exists(f"{folder}.log"):
            os.unlink(f"{folder}.log")


class Deaf:
    """Accepts connections and never answers."""

    def __init__(self):
        self.heard = 0
        deaf = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                deaf.heard += 1
                deaf.free.wait(120)

            def log_message(self, *_):
                pass
        self.free = threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"

    def close(self):
        self.free.set()
        self.server.shutdown()
        self.server.server_close()


def slow_receiver(checks):
    """One person's channel hangs: readings are acknowledged, and the other person hears at once."""
    deaf = Deaf()
    service = Service(config=f'[alerts.channels.deaf]\nkind = "webhook"\nurl = "{deaf.url}"\nsecret = "{SECRET}"\n')
    try:
        service.start()
        ids = service.district()
        hangs = service.ask("POST", "/api/v1/users", {"username": "hangs", "name": "Hangs", "roles": ["gp"], "organisationId": ids["station"],
                                                      "password": PASSWORD, "contacts": [{"channel": "deaf", "address": "hangs"}]})["id"]
        team = service.ask("POST", "/api/v1/teams", {"name": "half deaf", "organisationId": ids["station"], "members": [
            {"userId": hangs, "role": "gp"}, {"userId": ids["manager"], "role": "health_manager"}]})["id"]
        homes = service.enrol(team, 2)
        ill = Meter(service.mqtt, *homes[0], crisis, last=2)
        begun = time.monotonic()
        ill.start()
        until("the manager's page", 15, lambda: any(m[2].get("data", {}).get("recipient", {}).get("address") == "manager" for m in list(service.sink.messages)))
        waited = time.monotonic() - begun
        until("the deaf receiver's turn", 15, lambda: deaf.heard > 0)
        checks.that(waited < 5, "a receiver that hangs: the other person is told at once", f"{waited:.1f} s")
        meter = sent(service, homes[1], 200)
        checks.that(len(meter.acked) == 200, "a receiver that hangs: readings are acknowledged")
        checks.that(service.call("GET", "/readyz")[0] == 200, "a receiver that hangs: ready")
        checks.that(service.stop() == 0, "a receiver that hangs: a clean stop within its time")
    finally:
        service.close()
        deaf.close()


def crisis(seq):
    at = (datetime.datetime.now(CST).replace(microsecond=0) - datetime.timedelta(minutes=6 - 2 * seq)).isoformat()
    return {"kind": "blood_pressure", "time": at, "systolic": 185 + seq, "diastolic": 111 + seq, "pulse": 90, "unit": "mmHg"}


def slow_consumer(checks):
    """A meter that publishes and never reads its answers: it is closed or read no more, others are served, memory is bounded."""
    service, homes = prepared()
    try:
        before = memory(service)
        line = Line(service.mqtt, *homes[0], 4)
        line.socket.settimeout(0.5)
        make, count = ordinary(START), 0
        try:
            for n in range(1, 60_001):
                body = json.dumps({"v": 1, "readings": [{"seq": n, **make(n)}]}).encode()
                line.socket.sendall(publish_packet(f"hb/v1/devices/{homes[0][0]}/readings", body, n, 4, False))
                count = n
        except OSError:
            pass                                    # not read any more, or closed: both are back-pressure
        meter = sent(service, homes[1], 200)
        grown = memory(service) - before
        checks.that(len(meter.acked) == 200, "a client that never reads: others are served")
        checks.that(grown < 128, "a client that never reads: memory is bounded", f"{grown} MiB more")
        checks.that(service.call("GET", "/readyz")[0] == 200, "a client that never reads: ready")
        print(f"  a client that never reads: {count} messages taken, {grown} MiB more", flush=True)
        line.socket.close()
    finally:
        service.close()


OUTAGES = {
    "fsync-journal-log": lambda c: failed_fsync(c, "journal.db-wal"),
    "fsync-journal-file": lambda c: failed_fsync(c, "journal.db"),
    "fsync-registry-log": lambda c: failed_fsync(c, "registry.db-wal"),
    "fsync-registry-file": lambda c: failed_fsync(c, "registry.db"),
    "slow-fsync": slow_fsync,
    "torn-tail": torn_tail,
    "damaged-file": damaged_file,
    "turned-read-only": turned_read_only,
    "read-only": read_only,
    "full-disk": full_disk,
    "slow-receiver": slow_receiver,
    "slow-consumer": slow_consumer,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(OUTAGES))
    args = parser.parse_args()
    checks = Checks()
    for name, tell in OUTAGES.items():
        if args.only in (None, name):
            failed, begun = checks.failed, time.monotonic()
            try:
                tell(checks)
            except (Broken, OSError, subprocess.TimeoutExpired) as e:
                checks.that(False, name, str(e))
            print(f"  {name}: {time.monotonic() - begun:.0f} s" + (f"; again: tests/crash/outages.py --only {name}" if checks.failed > failed else ""), flush=True)
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()

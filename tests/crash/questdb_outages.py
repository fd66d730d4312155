#!/usr/bin/env python3
"""The analysts' database in trouble, told one trouble at a time against a real server: devices, pages and readiness never
notice, the operations page does, and afterwards its rows are the journal's (docs/operations.md has the table).

    tests/crash/questdb_outages.py [--only NAME]

- down: killed under load; hangs: stopped in the middle of its work; suspended: by its developer mode, again and again
- full: too little room on its own disk (a small file system; root is needed, else SKIPPED)
- position: the service cannot write down what was counted (its file meets a full device)
- refused: its password is changed
While each lasts: 100 readings are acknowledged, somebody falls ill and is told of once, /readyz is 200 and its line says
why, the stage's lag grows, memory stands still. HEARTHBEAT_QUESTDB=skip does without a server, and says so.
The last line is `N passed, N failed`.
"""
import argparse
import base64
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "outside"), HERE]
sys.dont_write_bytecode = True
from compare import Checks  # noqa: E402
from meter import Meter  # noqa: E402
from outages import Mount, crisis, memory, sent  # noqa: E402
from service import Broken, Service, until  # noqa: E402

SERVER = os.path.join(HERE, "..", "questdb", "server")
ROOM = 24 << 20
"""min_free_bytes of the story: the small file system has more while all is well."""


class QuestDb:
    """A real server; its folder outlives a kill. It ends with this process: its standard input closes."""

    def __init__(self, folder):
        self.folder, self.ports, self.password = folder, [], "first"
        self.start()

    def start(self):
        settings = ["dev.mode.enabled=true", "http.user=writer", f"http.password={self.password}", "pg.user=writer", f"pg.password={self.password}"]
        command = [sys.executable, SERVER, "run", "--heap", "256m", "--data", self.folder, *self.ports]
        for line in settings:
            command += ["--set", line]
        self.keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.keeper.stdout.readline()
        if not line:
            raise Broken(f"QuestDB was NOT tried: {self.keeper.stderr.read().strip()} (HEARTHBEAT_QUESTDB=skip does without)")
        self.at = json.loads(line)
        self.ports = [f"--{name}={self.at[name].rsplit(':', 1)[1]}" for name in ("http", "pg", "min")]

    def ask(self, text):
        """The rows of an answer, or none while it cannot say."""
        request = urllib.request.Request(f"http://{self.at['http']}/exec?{urllib.parse.urlencode({'query': text})}")
        request.add_header("authorization", "Basic " + base64.b64encode(f"writer:{self.password}".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer).get("dataset", [])
        except (OSError, ValueError):
            return None

    def send(self, what):
        os.kill(self.at["pid"], what)

    def kill(self):
        self.send(signal.SIGKILL)
        self.close()

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(30)


class World:
    """A running service, its database, and homes that nobody has used yet."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="hearthbeat-questdb-")
        self.mount = Mount(os.path.join(self.folder, "questdb"), "400m")
        self.questdb = QuestDb(self.mount.folder)
        self.secret = os.path.join(self.folder, "password")
        self.tell(self.questdb.password)
        at = self.questdb.at
        self.service = Service(config=f"""
[store]
engine = "questdb"
[store.questdb]
http = "{at['http']}"
pg = "{at['pg']}"
username = "writer"
password_file = "{self.secret}"
data_dir = "{self.mount.folder}"
min_free_bytes = {ROOM}
request_seconds = 1
retry_max_seconds = 1
check_seconds = 1
""")
        self.service.start()
        self.homes = iter(self.service.enrol(self.service.district()["team"], 20))

    def tell(self, password):
        with open(self.secret, "w") as f:
            f.write(password)

    def stage(self):
        stages = self.service.ask("GET", "/api/v1/ops/pipeline")["stages"]
        return next(s for s in stages if s["stage"] == "questdb")

    def said(self):
        """What /readyz?verbose says of it, and the status of the whole."""
        status, answer = self.service.call("GET", "/readyz?verbose")
        return status, next(c for c in answer["checks"] if c["name"] == "questdb").get("reason", "")

    def equal(self):
        there = self.questdb.ask("SELECT device, seq, systolic FROM reading")
        here = [[r["device"], int(r["seq"]), float(r["systolic"])] for r in self.service.export()]
        return there is not None and sorted(there) == sorted(here)

    def close(self):
        if hasattr(self, "service"):
            self.service.close()
        self.questdb.close()
        self.mount.close()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def down(world):
    world.questdb.kill()
    try:
        yield ""
    finally:
        world.questdb.start()


@contextlib.contextmanager
def hangs(world):
    world.questdb.send(signal.SIGSTOP)
    try:
        yield ""
    finally:
        world.questdb.send(signal.SIGCONT)


@contextlib.contextmanager
def suspended(world):
    over = threading.Event()

    def again():
        while not over.wait(0.05):
            world.questdb.ask("ALTER TABLE reading SUSPEND WAL WITH 28, 'no space'")
    thread = threading.Thread(target=again)
    thread.start()
    try:
        yield "suspended"
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def full(world):
    if not world.mount.there:
        print("SKIPPED: a full disk of QuestDB: mount is not allowed here (root is needed)")
        yield None
        return
    path, over = os.path.join(world.mount.folder, "filler"), threading.Event()

    def fill():
        room = os.statvfs(world.mount.folder)
        with contextlib.suppress(OSError), open(path, "ab") as f:      # QuestDB may take the last of it first
            f.write(b"x" * max(0, room.f_bavail * room.f_frsize - ROOM // 2))

    def keep_full():
        while not over.wait(0.1):       # QuestDB deletes old segments of its log meanwhile
            fill()
    fill()
    filler = threading.Thread(target=keep_full)
    filler.start()
    try:
        yield "min_free_bytes"
    finally:
        over.set()
        filler.join()
        os.unlink(path)


@contextlib.contextmanager
def position(world):
    name = os.path.join(world.service.data, "projector.json.new")
    os.symlink("/dev/full", name)
    try:
        yield "projector.json"
    finally:
        os.unlink(name)


@contextlib.contextmanager
def refused(world):
    world.questdb.kill()
    world.questdb.password = "second"
    world.questdb.start()
    try:
        yield "credentials"
    finally:
        world.tell(world.questdb.password)


def told(checks, world, name, trouble):
    service = world.service
    before = memory(service)
    with trouble(world) as reason:
        if reason is None:
            return
        begun = time.monotonic()
        home, ill = next(world.homes), next(world.homes)
        meter = sent(service, home, 100)
        checks.that(len(meter.acked) == 100, f"{name}: every reading is acknowledged")
        until(f"{name}: the line of /readyz", 30, lambda: reason in world.said()[1] and world.said()[1])
        Meter(service.mqtt, *ill, crisis, last=2).start()
        pages = lambda: [m for m in list(service.sink.messages) if m[2].get("type") == "alert.notification"]  # noqa: E731
        count = len(pages())
        crisis_begun = time.monotonic()
        until(f"{name}: somebody is told", 15, lambda: len(pages()) > count)
        waited = time.monotonic() - crisis_begun
        checks.that(waited < 5, f"{name}: paging does not wait for it", f"{waited:.1f} s")
        checks.that(world.said()[0] == 200, f"{name}: /readyz is 200")
        until(f"{name}: the operations page says how far it is behind", 10, lambda: world.stage()["lag"] > 0)
        report = service.ask("GET", "/api/v1/reports/population?resolution=day")
        checks.that(report["source"]["series"] == "embedded" and report["source"]["instead"] and sum(d["readings"] for d in report["items"]) >= 100,
                    f"{name}: questions over many people are answered here", json.dumps(report["source"]))
        checks.that(memory(service) - before < 64, f"{name}: memory stands still", f"{memory(service) - before} MiB more")
        lasted = time.monotonic() - begun
    until(f"{name}: its rows are the journal's again", 60, world.equal, 0.2)
    checks.that(True, f"{name}: its rows are the journal's again")
    until(f"{name}: nothing is left behind", 30, lambda: world.stage()["lag"] == 0 and not world.said()[1], 0.2)
    until(f"{name}: it is asked again", 30, lambda: service.ask("GET", "/api/v1/reports/population")["source"]["series"] == "questdb", 0.2)
    print(f"  {name}: lasted {lasted:.1f} s, {memory(service)} MiB", flush=True)


TROUBLES = {"down": down, "hangs": hangs, "suspended": suspended, "full": full, "position": position, "refused": refused}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=sorted(TROUBLES))
    args = parser.parse_args()
    checks = Checks()
    if os.environ.get("HEARTHBEAT_QUESTDB") == "skip":
        print("QuestDB was NOT tried: HEARTHBEAT_QUESTDB=skip\n0 passed, 0 failed")
        return
    world = World()
    try:
        until("the first fill", 60, lambda: world.stage()["lag"] == 0 and world.equal(), 0.2)
        for name, trouble in TROUBLES.items():
            if args.only in (None, name):
                failed, begun = checks.failed, time.monotonic()
                try:
                    told(checks, world, name, trouble)
                except (Broken, OSError, subprocess.TimeoutExpired, urllib.error.URLError) as e:
                    checks.that(False, name, f"{e}; {world.said()}")
                again = f"; again: tests/crash/questdb_outages.py --only {name}" if checks.failed > failed else ""
                print(f"  {name}: {time.monotonic() - begun:.0f} s{again}", flush=True)
        checks.that(world.service.stop() == 0, "a clean stop")
    finally:
        world.close()
    print(f"{checks.passed} passed, {checks.failed} failed", flush=True)
    sys.exit(1 if checks.failed else 0)


if __name__ == "__main__":
    main()

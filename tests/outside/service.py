"""The release binary driven from outside: a folder, a process, HTTP, a web server that catches its messages.

Python 3.11, standard library only, so that benches and crash tests run on any machine. Everything listens on
127.0.0.1 in temporary folders; every process started here is ended here, by its own id.
"""
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.environ.get("HEARTHBEAT", os.path.join(ROOT, "target/release/hearthbeat"))
SECRET = "whsec_" + "b3V0c2lkZS10aGUtaG91c2Utc2VjcmV0LTAwMDA="
PASSWORD = "correct horse battery staple"


class Broken(Exception):
    """Something that the contract promises did not happen; the text says what."""


def until(what, seconds, poll, every=0.02):
    """The first true value of poll(), else Broken."""
    end = time.monotonic() + seconds
    while True:
        value = poll()
        if value:
            return value
        if time.monotonic() > end:
            raise Broken(f"not within {seconds} s: {what}")
        time.sleep(every)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Sink:
    """Catches webhooks: a list of (id, bytes, JSON), in order of arrival, and beside it when each came (monotonic ns)."""

    def __init__(self):
        self.messages, self.times, self.lock = [], [], threading.Lock()
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                with sink.lock:
                    sink.times.append(time.monotonic_ns())
                    sink.messages.append((self.headers.get("webhook-id"), body, json.loads(body or b"{}")))
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None      # a killed sender is what is tested
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Service:
    """One data folder and the process that owns it; the same ports through every restart."""

    def __init__(self, config="", arguments=(), environment=None, folder=None):
        """`arguments` of `run` and `environment` (of `init` too) hold for every start until they are changed."""
        if not os.path.exists(BINARY):
            raise Broken(f"{BINARY} is not there: cargo build --release")
        self.arguments, self.environment = list(arguments), environment or {}
        self.folder = folder or tempfile.mkdtemp(prefix="hearthbeat-outside-")
        self.data = os.path.join(self.folder, "data")
        self.process, self.token, self.sink = None, None, Sink()
        self.mqtt, self.http = ("127.0.0.1", free_port()), ("127.0.0.1", free_port())
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.config = os.path.join(self.folder, "config.toml")
        with open(self.config, "w") as f:
            f.write(f'''[broker]
mqtt = "127.0.0.1:{self.mqtt[1]}"
mqtts = ""
ws = ""
wss = ""
[api]
address = "127.0.0.1:{self.http[1]}"
[alerts.channels.sink]
kind = "webhook"
url = "{self.sink.url}"
secret = "{SECRET}"
{config}''')
        try:
            done = subprocess.run([BINARY, "init", "--data-dir", self.data, "--json"], capture_output=True, text=True, timeout=60,
                                  env={**os.environ, **self.environment})
            if done.returncode:
                raise Broken(f"init: exit {done.returncode}: {done.stderr[-400:]}")
            self.admin = json.loads(done.stdout)
        except BaseException:
            self.close()
            raise

    def start(self, wait=60):
        self.process = subprocess.Popen([BINARY, "run", "--config", self.config, "--data-dir", self.data, *self.arguments],
                                        stdout=self.log, stderr=self.log, start_new_session=True, env={**os.environ, **self.environment})
        path = os.path.join(self.data, "addresses.json")

        def ready():
            if self.process.poll() is not None:
                raise Broken(f"run ended with {self.process.returncode}: {self.tail()}")
            try:
                with open(path) as f:
                    return json.load(f).get("pid") == self.process.pid
            except (OSError, ValueError):
                return False

        until("addresses.json of this process", wait, ready, 0.005)
        self.token = None
        return self

    def processor_seconds(self):
        """User and system time of the process so far."""
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_kb(self, line):
        """A line of the process's status, such as VmHWM or RssAnon."""
        with open(f"/proc/{self.process.pid}/status") as f:
            return next((int(text.split()[1]) for text in f if text.startswith(line + ":")), 0)

    def tail(self, n=800):
        with open(os.path.join(self.folder, "log"), "rb") as f:
            return f.read()[-n:].decode(errors="replace")

    @staticmethod
    def run(*arguments, wait=120):
        """One run of the binary to its end."""
        return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=wait)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, wait=20):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(wait)

    def close(self, keep=False):
        if self.process and self.process.poll() is None:
            self.kill()
        self.sink.close()
        self.log.close()
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- HTTP ---
    def call(self, method, path, body=None, raw=None, kind="application/json"):
        """(status, parsed body or None)."""
        c = http.client.HTTPConnection(*self.http, timeout=120)
        headers = {"accept": "application/json"}
        if self.token:
            headers["authorization"] = f"Bearer {self.token}"
        if body is not None:
            raw = json.dumps(body).encode()
        if raw is not None:
            headers["content-type"] = kind
        c.request(method, path, raw, headers)
        r = c.getresponse()
        data = r.read()
        c.close()
        return r.status, json.loads(data) if data and "json" in r.getheader("content-type", "") else None

    def ask(self, method, path, body=None, **kw):
        if self.token is None and path != "/api/v1/session":
            self.token = self.ask("POST", "/api/v1/session", self.admin)["token"]
        status, answer = self.call(method, path, body, **kw)
        if not 200 <= status < 300:
            raise Broken(f"{method} {path}: {status} {json.dumps(answer)[:300]}")
        return answer

    def items(self, path):
        """Every item of a list, over all pages."""
        out, cursor = [], None
        while True:
            join = "&" if "?" in path else "?"
            page = self.ask("GET", path + (f"{join}cursor={urllib.parse.quote(cursor)}" if cursor else ""))
            out += page["items"]
            cursor = page.get("nextCursor")
            if not cursor:
                return out

    def district(self):
        """A region, a centre, a station and a team whose contacts are addresses at the sink; the ids by name."""
        ids = {}

        def organisation(name, kind, parent=None):
            ids[name] = self.ask("POST", "/api/v1/organisations", {"name": name, "kind": kind, **({"parentId": ids[parent]} if parent else {})})["id"]

        organisation("region", "region")
        organisation("centre", "centre", "region")
        organisation("station", "station", "centre")
        for name, role, place in [("gp", "gp", "station"), ("manager", "health_manager", "station"), ("specialist", "specialist", "station"),
                                  ("duty", "gp", "station"), ("head", "station_admin", "station"), ("desk", "region_admin", "region")]:
            ids[name] = self.ask("POST", "/api/v1/users", {"username": name, "name": name.title(), "roles": [role], "organisationId": ids[place],
                                 "password": PASSWORD, "contacts": [{"channel": "sink", "address": name}]})["id"]
        for place, who in [("station", "duty"), ("region", "desk")]:
            self.ask("PATCH", f"/api/v1/organisations/{ids[place]}", {"duty": [ids[who]]})
        ids["team"] = self.ask("POST", "/api/v1/teams", {"name": "team", "organisationId": ids["station"], "members": [
            {"userId": ids["gp"], "role": "gp"}, {"userId": ids["manager"], "role": "health_manager"}, {"userId": ids["specialist"], "role": "specialist"}]})["id"]
        return ids

    def enrol(self, team, count):
        """`count` patients of a team, each with a meter: [(device, secret)] in order, through the bulk import."""
        header = "patient_key,name,birth_date,sex,team,tags,conditions,phone,device_id,device_kind,user_slot,bound_from"
        rows = [f"k{n},Patient {n},1955-03-0{n % 9 + 1},female,{team},hypertension,hypertension;diabetes,,meter-{n:05},,,2020-01-01T00:00:00+08:00"
                for n in range(1, count + 1)]
        answer = self.ask("POST", "/api/v1/import", raw="\n".join([header, *rows, ""]).encode(), kind="text/csv")
        if answer["rejected"]:
            raise Broken(f"import: {len(answer['rejected'])} rows rejected, the first: {answer['rejected'][0]}")
        secrets = {s["deviceId"]: s["secret"] for s in answer["secrets"]}
        return [(f"meter-{n:05}", secrets[f"meter-{n:05}"]) for n in range(1, count + 1)]

    def books(self, days):
        """Summed over days: the total, and by device."""
        total, devices = {}, {}
        for day in days:
            accounting = self.ask("GET", f"/api/v1/ops/pipeline?day={day}")["accounting"]
            for row, into in [(accounting["total"], total), *((d, devices.setdefault(d["device"], {})) for d in accounting["devices"])]:
                for key in ("accepted", "stored", "duplicate", "quarantined", "rejected"):
                    into[key] = into.get(key, 0) + row.get(key, 0)
        return total, devices

    def export(self, table="readings"):
        """Every row of a table, as the command line gives them."""
        path = os.path.join(self.folder, f"export-{table}")
        with open(path, "wb") as out:
            done = subprocess.run([BINARY, "export", "--data-dir", self.data, "--table", table, "--format", "jsonl"],
                                  stdout=out, stderr=subprocess.PIPE, timeout=300)
        if done.returncode:
            raise Broken(f"export {table}: exit {done.returncode}: {done.stderr[-300:].decode(errors='replace')}")
        with open(path) as f:
            return [json.loads(line) for line in f]

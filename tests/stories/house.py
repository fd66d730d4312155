"""The service seen from outside: started, spoken to over HTTP and MQTT, ended. Standard library and paho only.

    HEARTHBEAT   path of the release binary
"""
import http.client
import http.server
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid

import paho.mqtt.client as mqtt

BINARY = os.environ.get("HEARTHBEAT", os.path.abspath("target/release/hearthbeat"))
MONDAY = "2026-03-02T08:00:00+08:00"
PASSWORD = "four words make one password"
SECRET = "whsec_c3Rvcmllcy1vZi1hLWhvdXNlLTAwMDAwMDAwMDAw"


def run(*arguments, wait=60, **environment):
    """One run of the binary to its end."""
    return subprocess.run([BINARY, *arguments], capture_output=True, text=True, timeout=wait, env={**os.environ, **environment})


def eventually(what, poll, seconds=10):
    """The first true value of poll(); a poll, not a sleep, so it returns as soon as it can."""
    end = time.monotonic() + seconds
    while True:
        value = poll()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Sink:
    """A web server that hears the messages."""

    def __init__(self):
        self.heard = []
        self.answer = lambda message: 200
        sink = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                message = {"id": self.headers["webhook-id"], **json.loads(body)}
                sink.heard.append(message)
                self.send_response(sink.answer(message))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def people(self):
        """Who was told, each delivery once, in order."""
        seen, people = set(), []
        for message in list(self.heard):
            if message["type"] == "alert.notification" and message["id"] not in seen:
                seen.add(message["id"])
                people.append(message["data"]["recipient"]["address"])
        return people

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Meter:
    """A paho client that hears its receipts."""

    def __init__(self, house, device, secret, version=mqtt.MQTTv5, door="mqtt", certificates=None):
        """`certificates`: (authority, certificate, key), files of a device that has no secret or does not use it."""
        self.device, self.receipts, self.commands = device, [], []
        ready = threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, protocol=version)
        if secret:
            self.client.username_pw_set(device, secret)
        if certificates:
            self.client.tls_set(*certificates)
        self.client.on_message = lambda _c, _u, m: (self.receipts if m.topic.endswith("receipts") else self.commands).append(json.loads(m.payload))
        self.client.on_connect = lambda c, *_: c.subscribe(f"hb/v1/devices/{device}/#", qos=1)
        self.client.on_subscribe = lambda *_: ready.set()
        host, port = house.addresses[door].rsplit(":", 1)
        self.client.connect(host, int(port))
        self.client.loop_start()
        assert ready.wait(10), f"{device} was not let in"

    def send(self, *readings, **more):
        """One message; its receipt's results."""
        name = uuid.uuid4().hex
        info = self.client.publish(f"hb/v1/devices/{self.device}/readings", json.dumps({"v": 1, "msgId": name, "readings": readings, **more}), qos=1)
        info.wait_for_publish(10)
        assert info.is_published(), "no PUBACK"
        return eventually("the receipt", lambda: next((r["results"] for r in self.receipts if r.get("msgId") == name), None))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def pressure(seq, at, systolic, diastolic, **more):
    return {"seq": seq, "kind": "blood_pressure", "time": at, "systolic": systolic, "diastolic": diastolic, "pulse": 70, "unit": "mmHg", **more}


class House:
    """`hearthbeat run` with a station, a team (gp, manager) and desks."""

    def __init__(self, folder=None, clock=MONDAY, config="", prepare=True, doors=""):
        """`config` and `doors`: lines of the configuration, the latter of its `[broker]`."""
        self.folder = folder or tempfile.mkdtemp(prefix="hearthbeat-story-")
        self.data = os.path.join(self.folder, "data")
        self.sink, self.clock, self.meters, self.process, self.token = Sink(), clock, [], None, None
        self.config = os.path.join(self.folder, "hearthbeat.toml")
        with open(self.config, "w") as f:
            f.write(f'[broker]\nmqtt = "127.0.0.1:0"\n{doors}[api]\naddress = "127.0.0.1:0"\n'
                    f'[alerts.channels.sink]\nkind = "webhook"\nurl = "{self.sink.url}"\nsecret = "{SECRET}"\n{config}')
        self.log = open(os.path.join(self.folder, "log"), "ab")
        if prepare:
            made = run("init", "--data-dir", self.data, "--json")
            assert made.returncode == 0, made.stderr
            self.admin = json.loads(made.stdout)
            self.start()
            self.settle_in()

    def start(self):
        arguments = [BINARY, "run", "--config", self.config, "--data-dir", self.data]
        if self.clock:
            arguments += ["--test-clock", f"manual={self.clock}"]
        self.process = subprocess.Popen(arguments, stdout=self.log, stderr=self.log, start_new_session=True)

        def published():
            assert self.process.poll() is None, f"run ended with {self.process.returncode}: {self.said()[-800:]}"
            try:
                with open(os.path.join(self.data, "addresses.json")) as f:
                    addresses = json.load(f)
            except (OSError, ValueError):
                return None
            return addresses if addresses["pid"] == self.process.pid else None

        self.addresses = eventually("addresses.json", published, 30)
        self.token = None

    def settle_in(self):
        post = lambda path, body: self.ask("POST", path, body)["id"]
        region = post("/api/v1/organisations", {"name": "Region", "kind": "region"})
        self.station = post("/api/v1/organisations", {"name": "Station", "kind": "station", "parentId": region})
        person = lambda name, role, at: post("/api/v1/users", {"username": name, "name": name, "roles": [role], "organisationId": at, "password": PASSWORD,
                                                             "contacts": [{"channel": "sink", "address": name}]})
        self.gp, self.manager = person("gp", "gp", self.station), person("manager", "health_manager", self.station)
        duty, desk = person("duty", "gp", self.station), person("desk", "region_admin", region)
        self.ask("PATCH", f"/api/v1/organisations/{self.station}", {"duty": [duty]})
        self.ask("PATCH", f"/api/v1/organisations/{region}", {"duty": [desk]})
        self.team = post("/api/v1/teams", {"name": "Team", "organisationId": self.station,
                                           "members": [{"userId": self.gp, "role": "gp"}, {"userId": self.manager, "role": "health_manager"}]})

    def patient(self, name="Zhou Meilan", bound=True):
        """(patient id, a connected meter)."""
        patient = self.ask("POST", "/api/v1/patients", {"name": name, "birthDate": "1955-01-01", "sex": "female", "teamId": self.team, "conditions": ["hypertension"]})["id"]
        device = self.ask("POST", "/api/v1/devices", {"kind": "blood_pressure"})
        if bound:
            self.ask("POST", f"/api/v1/devices/{device['id']}/bindings", {"patientId": patient, "from": "2020-01-01T00:00:00+08:00"})
        return patient, self.meter(device["id"], device["secret"])

    def meter(self, device, secret, version=mqtt.MQTTv5, **more):
        self.secrets = {**getattr(self, "secrets", {}), device: secret}
        self.meters.append(Meter(self, device, secret, version, **more))
        return self.meters[-1]

    def call(self, method, path, body=None, who=None, headers=None):
        host, port = self.addresses["http"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        headers = {"accept": "application/json", **(headers or {})}
        if who is not False:
            headers["authorization"] = f"Bearer {self.login(who) if who else self.token or self.login()}"
        data = None
        if body is not None:
            data, headers["content-type"] = json.dumps(body), "application/json"
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, (json.loads(text) if text[:1] in (b"{", b"[") else text.decode(errors="replace"))

    def ask(self, method, path, body=None, **more):
        status, answer = self.call(method, path, body, **more)
        assert status < 300, f"{method} {path}: {status} {answer}"
        return answer

    def login(self, who=None):
        username, password = (who, PASSWORD) if who else (self.admin["username"], self.admin["password"])
        status, answer = self.call("POST", "/api/v1/session", {"username": username, "password": password}, who=False)
        assert status == 201, f"login of {username}: {status}"
        if not who:
            self.token = answer["token"]
        return answer["token"]

    def advance(self, duration):
        self.clock = self.ask("POST", "/test/clock", {"advance": duration}, who=False)["now"]
        self.token = None

    def readings(self, patient):
        query = urllib.parse.urlencode({"from": "1990-01-01T00:00:00Z", "to": "2100-01-01T00:00:00Z", "limit": 200})
        return self.ask("GET", f"/api/v1/patients/{patient}/readings?{query}")["items"]

    def export(self, table="readings", data=None):
        done = run("export", "--data-dir", data or self.data, "--table", table, "--format", "jsonl")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def said(self):
        with open(os.path.join(self.folder, "log"), "rb") as f:
            return f.read().decode(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for meter in self.meters:
            meter.close()
        if self.process and self.process.poll() is None:
            self.kill()
        self.sink.close()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

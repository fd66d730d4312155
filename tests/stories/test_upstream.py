"""Meters that stay with the broker they have: a real mosquitto stands between them and the service."""
import json
import os
import sys
import threading

import paho.mqtt.client as mqtt
import pytest
from house import House, eventually, pressure, run
from pki import certificates

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "outside"))
from mosquitto import Mosquitto, is_there  # noqa: E402
from service import free_port  # noqa: E402

pytestmark = pytest.mark.skipif(not is_there(), reason="mosquitto is not installed (Debian: mosquitto)")
OURS = "let the edge in"


@pytest.fixture
def broker(tmp_path):
    """mosquitto with the rules of docs/operations.md: a device speaks on its own topics, our user hears all."""
    (tmp_path / "acl").write_text("user hearthbeat\ntopic read hb/v1/devices/#\ntopic read hb/v1/gateways/#\ntopic write hb/v1/devices/+/receipts\ntopic write hb/v1/devices/+/commands\n"
                                  "pattern write hb/v1/devices/%u/#\npattern read hb/v1/devices/%u/#\n")
    running = Mosquitto(["allow_anonymous true", f"acl_file {tmp_path}/acl", "per_listener_settings false"]).start()
    yield running
    running.close()


def beside(broker, protocol, tmp_path, more="", url=None):
    (tmp_path / "password").write_text(OURS + "\n")
    return House(config=f'[broker.upstream]\nurl = "{url or f"mqtt://127.0.0.1:{broker.address[1]}"}"\nprotocol = {protocol}\nusername = "hearthbeat"\n'
                        f'password_file = "{tmp_path}/password"\nretry_max = 1\n{more}')


class Visitor:
    """A paho client at mosquitto, under the name of a device."""

    def __init__(self, broker, device):
        self.device, self.heard, ready = device, [], threading.Event()
        self.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=device, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(device, "any")
        self.client.on_message = lambda _c, _u, m: self.heard.append((m.topic.rsplit("/", 1)[1], json.loads(m.payload)))
        self.client.on_connect = lambda c, *_: c.subscribe([(f"hb/v1/devices/{device}/{tail}", 1) for tail in ("receipts", "commands")])
        self.client.on_subscribe = lambda *_: ready.set()
        self.client.connect(*broker.address)
        self.client.loop_start()
        assert ready.wait(10)

    def send(self, payload, tail="readings", device=None):
        info = self.client.publish(f"hb/v1/devices/{device or self.device}/{tail}", payload, qos=1)
        info.wait_for_publish(10)
        assert info.is_published()

    def results(self, *readings):
        name = f"m{len(self.heard)}-{readings[0]['seq']}"
        self.send(json.dumps({"v": 1, "msgId": name, "readings": readings}))
        return eventually("the receipt through mosquitto", lambda: next((m["results"] for what, m in self.heard if what == "receipts" and m.get("msgId") == name), None))

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def check(house):
    """The line of `/readyz`: whether it is well, and the word for why it is not connected."""
    _, answer = house.call("GET", "/readyz?verbose", who=False)
    line = next(c for c in answer["checks"] if c["name"] == "upstream")
    return line["ok"], line.get("reason")


def connected(house):
    return check(house) == (True, None)


def doctor(house):
    """What `hearthbeat doctor` says of the broker above."""
    done = run("doctor", "--config", house.config, "--data-dir", house.data)
    return next(line for line in done.stdout.splitlines() if line.split()[1] == "upstream")


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_reading_and_its_answer_go_through_the_broker_that_is_there(broker, protocol, tmp_path):
    with beside(broker, protocol, tmp_path) as house:
        eventually("the connection", lambda: connected(house))
        patient, meter = house.patient()
        meter.close()
        v = Visitor(broker, meter.device)
        assert v.results(pressure(1, "2026-03-02T07:50:00+08:00", 128, 82))[0]["result"] == "stored"
        assert v.results(pressure(1, "2026-03-02T07:50:00+08:00", 128, 82))[0]["result"] == "duplicate"
        # A gap in its numbers brings a command, through the same broker.
        v.results(pressure(5, "2026-03-02T07:55:00+08:00", 126, 80))
        asked = eventually("the resend command", lambda: next((m for what, m in v.heard if what == "commands"), None))
        assert (asked["type"], asked["from"], asked["to"]) == ("resend", 2, 4)
        assert sorted(r["systolic"] for r in house.readings(patient)) == [126, 128]
        assert "upstream" in [s["stage"] for s in house.ask("GET", "/api/v1/ops/pipeline")["stages"]]
        v.close()
        assert house.stop() == 0


def test_what_mosquitto_took_while_we_were_away_is_stored_once(broker, tmp_path):
    with beside(broker, 5, tmp_path) as house:
        eventually("the connection", lambda: connected(house))
        patient, meter = house.patient()
        meter.close()
        house.kill()
        v = Visitor(broker, meter.device)
        for seq in range(1, 41):
            v.send(json.dumps({"v": 1, "readings": [pressure(seq, f"2026-03-02T07:{seq:02}:00+08:00", 120, 80)]}))
        house.start()
        eventually("all of them", lambda: len(house.readings(patient)) == 40)
        assert sorted(r["seq"] for r in house.export()) == list(range(1, 41))
        broker.kill()
        eventually("that it is seen", lambda: not connected(house))
        broker.start()
        eventually("the connection", lambda: connected(house))
        eventually("the meter's own", v.client.is_connected)
        assert v.results(pressure(41, "2026-03-02T07:41:00+08:00", 120, 80))[0]["result"] == "stored"
        v.close()


def test_what_nobody_can_place_is_held_and_holds_up_nobody(broker, tmp_path):
    with beside(broker, 5, tmp_path) as house:
        eventually("the connection", lambda: connected(house))
        _, meter = house.patient()
        meter.close()
        good = json.dumps({"v": 1, "readings": [pressure(1, "2026-03-02T07:50:00+08:00", 128, 82)]})
        new, v = Visitor(broker, "not-yet-known"), Visitor(broker, meter.device)
        new.send(good)
        new.send(b"\0" * 300_000)
        new.send(b"\1\2", tail="gatt/ffff")
        v.send(b"{")
        assert v.results(pressure(7, "2026-03-02T07:50:00+08:00", 128, 82))[0]["result"] == "stored", "behind all that"
        held = house.ask("GET", "/api/v1/quarantine?limit=200")["items"]
        assert sorted(h["deviceId"] for h in held) == sorted([meter.device, "upstream", "upstream", "upstream"])
        mine = next(h for h in held if bytes.fromhex(h["raw"]) == good.encode())
        assert mine["reasons"] == ["not_allowed"]
        replay = lambda: house.ask("POST", f"/api/v1/quarantine/{mine['id']}/replay")
        assert replay()["result"] == "quarantined", "nobody has provisioned it"
        house.ask("POST", "/api/v1/devices", {"id": "not-yet-known", "organisationId": house.station})
        assert replay()["result"] == "stored"
        assert [(r["seq"], r["systolic"]) for r in house.export() if r["device"] == "not-yet-known"] == [(1, 128)]
        # A device may not speak for another there: that broker's rules see to it, ours rest on them.
        new.send(good, device=meter.device)
        assert v.results(pressure(8, "2026-03-02T07:52:00+08:00", 128, 82))[0]["result"] == "stored"
        total = house.ask("GET", "/api/v1/ops/pipeline?day=2026-03-02")["accounting"]["total"]
        assert total["accepted"] == total["stored"] + total["duplicate"] + total["quarantined"] + total["rejected"]
        new.close()
        v.close()


@pytest.fixture
def secure(tmp_path):
    """The same mosquitto with a second door: TLS, and nobody without a certificate of its authority."""
    files = certificates(tmp_path, "hearthbeat")
    door = free_port()
    running = Mosquitto(["allow_anonymous true", f"listener {door} 127.0.0.1", f"cafile {files['ca_cert']}", f"certfile {files['server_cert']}",
                         f"keyfile {files['server_key']}", "require_certificate true"]).start()
    running.files, running.door = files, door
    yield running
    running.close()


@pytest.mark.parametrize("protocol", [4, 5])
def test_the_broker_that_is_there_wants_tls_and_a_certificate(secure, protocol, tmp_path):
    files = secure.files
    trust = f'ca_file = "{files["ca_cert"]}"\n'
    own = f'cert_file = "{files["device_cert"]}"\nkey_file = "{files["device_key"]}"\n'
    with beside(secure, protocol, tmp_path, trust + own, f"mqtts://127.0.0.1:{secure.door}") as house:
        eventually("the connection", lambda: connected(house))
        patient, meter = house.patient()
        meter.close()
        v = Visitor(secure, meter.device)
        assert v.results(pressure(1, "2026-03-02T07:50:00+08:00", 128, 82))[0]["result"] == "stored"
        # A look from beside takes nothing from the service that runs.
        assert doctor(house).startswith("ok ") and "lets us in" in doctor(house)
        assert v.results(pressure(2, "2026-03-02T07:51:00+08:00", 129, 82))[0]["result"] == "stored" and connected(house)
        assert [r["systolic"] for r in house.readings(patient)] == [128, 129]
        secure.kill()
        eventually("that it is seen", lambda: not connected(house))
        assert doctor(house).startswith("BAD") and "unreachable" in doctor(house) and "firewall" in doctor(house)
        secure.start()
        eventually("the connection once more", lambda: connected(house), 20)
        v.close()
        assert house.stop() == 0


@pytest.mark.parametrize("protocol", [4, 5])
@pytest.mark.parametrize("fault", ["authority", "name", "no certificate of ours"])
def test_who_cannot_be_trusted_gets_nothing_and_it_is_said_why(secure, protocol, fault, tmp_path):
    (tmp_path / "other").mkdir()
    files, other = secure.files, certificates(tmp_path / "other", "hearthbeat")
    trust = f'ca_file = "{(other if fault == "authority" else files)["ca_cert"]}"\nalarm_after = 1\n'
    own = "" if fault.startswith("no") else f'cert_file = "{files["device_cert"]}"\nkey_file = "{files["device_key"]}"\n'
    host = "localhost" if fault == "name" else "127.0.0.1"
    with beside(secure, protocol, tmp_path, trust + own, f"mqtts://{host}:{secure.door}") as house:
        eventually("the alarm", lambda: check(house) == (False, "tls"), 20)
        said = doctor(house)
        assert said.startswith("BAD") and " tls: " in said and "ca_file" in said, said
        assert OURS not in house.said()

#!/usr/bin/env python3
"""Readings through an existing broker, which is killed, as we are, at random moments under load: 0 lost, 0 doubled.

    tests/crash/upstream.py [--kills 6] [--long] [--seed N] [--meters 12] [--protocol 4|5] [--keep]

A real mosquitto stands between the meters and the release binary ([broker.upstream]). Each kill -9 takes one of the two,
or both, and starts it again. A meter keeps its readings until our receipt (mosquitto's own PUBACK says only that mosquitto
has it in memory) and sends the rest again. In the end the meters' lists are compared with `hearthbeat export` and the books.
Between the kills come messages that no device of ours sent: they are held, counted, and hold up nobody.
Prints the seed and the command that repeats the run; the last line is `N passed, N failed`. --long: 60 kills.
"""
import argparse
import datetime
import json
import os
import random
import socket
import struct
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "outside"))
sys.dont_write_bytecode = True
from compare import Checks, compare_books, ordinary  # noqa: E402
from meter import CST, Line, Meter, publish_packet, text  # noqa: E402
from mosquitto import Mosquitto, is_there  # noqa: E402
from service import Broken, Service, until  # noqa: E402

PATIENCE = 3.0                  # seconds without a receipt, then a meter sends again


class Careful(Meter):
    """Forgets a reading at our receipt, not at the broker's PUBACK."""

    def session(self, line):
        receipts = f"hb/v1/devices/{self.device}/receipts"
        line.socket.sendall(b"\x82" + bytes([5 + len(receipts) + (self.version == 5)]) + struct.pack(">H", 65535) + (b"\0" if self.version == 5 else b"") + text(receipts) + b"\x01")
        line.socket.settimeout(0.05)
        for pid in list(self.waiting):
            self.publish(line, pid, True)
        heard = time.monotonic()
        while not (self.exhausted() and not self.waiting):
            self.fill(line)
            try:
                head, body = line.packet()
            except (socket.timeout, TimeoutError):
                if self.waiting and time.monotonic() - heard > PATIENCE:
                    raise OSError("no receipt for long: again") from None
                continue
            if head & 0xF0 == 0x30:
                heard = time.monotonic()
                self.receipt(line, head, body)

    def receipt(self, line, head, body):
        at = 2 + int.from_bytes(body[:2], "big")
        pid, at = body[at:at + 2], at + 2
        if self.version == 5:
            at += 1 + body[at]
        answer = json.loads(body[at:])
        line.socket.sendall(b"\x40\x02" + pid)
        done = {r["seq"] for r in answer["results"] if r["result"] in ("stored", "duplicate", "flagged")}
        for waiting, seqs in list(self.waiting.items()):
            if done.issuperset(seqs):
                del self.waiting[waiting]
                self.acked.update(seqs)


def strangers(address, dice):
    """Messages that belong to nobody; how many there are to be held."""
    good = json.dumps({"v": 1, "readings": [{"seq": dice.randint(1, 10**9), "kind": "blood_pressure", "time": "2026-03-02T07:00:00+08:00", "systolic": 120, "diastolic": 80, "unit": "mmHg"}]}).encode()
    unknown = f"stranger-{dice.randint(1, 10**9)}"
    messages = [(f"hb/v1/devices/{unknown}/readings", good), (f"hb/v1/devices/{unknown}/gatt/ffff", dice.randbytes(20)),
                (f"hb/v1/gateways/{unknown}/readings", b"{"), (f"hb/v1/devices/{unknown}/vendor/nobody", dice.randbytes(200_000)), (f"hb/v1/devices/no id {unknown}/readings", good)]
    line = Line(address, unknown, "", 4)
    for pid, (topic, payload) in enumerate(messages, 1):
        line.socket.sendall(publish_packet(topic, payload, pid, 4, False))
        while line.packet()[0] != 0x40:
            pass
    line.socket.close()
    return len(messages)


def storm(service, broker, meters, kills, dice):
    """Kills and starts again. How many messages of strangers went out for certain."""
    held = 0
    for number in range(kills):
        before = sum(len(m.acked) for m in meters)
        until("receipts after a start", 60, lambda: sum(len(m.acked) for m in meters) > before + 50, 0.002)
        time.sleep(dice.uniform(0.0, 0.6))          # the random moment is the test
        what = number % 3
        if what != 0:
            broker.kill()
        if what != 1:
            service.kill()
        time.sleep(dice.uniform(0.0, 0.4))
        if what != 0:
            broker.start()
        if what != 1:
            service.start()
        if number % 10 == 9:
            print(f"  {number + 1} kills, {sum(len(m.acked) for m in meters)} readings receipted", flush=True)
    # Now that nothing is killed, mosquitto's word counts.
    for _ in range(4):
        held += strangers(broker.address, dice)
    return held


def compare(checks, service, meters, held, day):
    rows = service.export("readings")
    keys = [(r["device"], r["epoch"], int(r["seq"])) for r in rows]
    checks.that(len(keys) == len(set(keys)), "(device, epoch, seq) is stored once")
    for m in meters:
        stored = {int(r["seq"]) for r in rows if r["device"] == m.device}
        checks.that(m.sent <= stored, f"{m.device}: every reading sent is stored", f"{len(m.sent - stored)} LOST")
        checks.that(stored <= m.sent, f"{m.device}: none that nobody sent")
    quarantine = service.export("quarantine")
    checks.that(len(quarantine) == held, "every stranger's message is held", f"{len(quarantine)} of {held}")
    checks.that(all(q["device"] == "upstream" and "not_allowed" in str(q["reasons"]) for q in quarantine), "under the broker's own entry, as not allowed")
    compare_books(checks, service, meters, len(rows), [day])
    total, devices = service.books([day])
    checks.that(devices.get("upstream", {}).get("quarantined") == held, "the books say what is held", str(devices.get("upstream")))
    return len(rows), total["duplicate"]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--kills", type=int, default=6)
    arguments.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments.add_argument("--meters", type=int, default=12)
    arguments.add_argument("--protocol", type=int, default=5, choices=[4, 5])
    arguments.add_argument("--long", action="store_true")
    arguments.add_argument("--keep", action="store_true")
    options = arguments.parse_args()
    kills = 60 if options.long else options.kills
    print(f"tests/crash/upstream.py --kills {kills} --meters {options.meters} --protocol {options.protocol} --seed {options.seed}", flush=True)
    if not is_there():
        print("mosquitto is not installed (Debian: mosquitto)\n0 passed, 1 failed")
        return 1
    checks, dice = Checks(), random.Random(options.seed)
    broker = Mosquitto(["allow_anonymous true"])
    service, meters, rows, again = None, [], 0, 0
    try:
        broker.start()
        config = f'[broker.upstream]\nurl = "mqtt://127.0.0.1:{broker.address[1]}"\nprotocol = {options.protocol}\nretry_max = 1\n'
        service = Service(config)
        service.start()
        ids = service.district()
        start = datetime.datetime.now(CST).replace(microsecond=0) - datetime.timedelta(hours=20)
        enrolled = service.enrol(ids["team"], options.meters)
        meters = [Careful(broker.address, device, "", ordinary(start), version=4 + n % 2, rate=60.0, seed=options.seed) for n, (device, _) in enumerate(enrolled)]
        for m in meters:
            m.start()
        held = storm(service, broker, meters, kills, dice)
        for m in meters:
            m.ending.set()
        for m in meters:
            m.join(60)
            checks.that(not m.is_alive() and not m.waiting and not m.trouble, f"{m.device} gets every receipt in the end", m.trouble or f"{len(m.waiting)} wait")
        day = datetime.datetime.now(CST).date()
        until("everything that mosquitto has is taken", 30, lambda: service.books([day])[1].get("upstream", {}).get("quarantined", 0) >= held, 0.1)
        rows, again = compare(checks, service, meters, held, day)
        checks.that(service.stop() == 0, "it ends in order")
    except Broken as e:
        checks.that(False, "the run", str(e))
    finally:
        for m in meters:
            m.ending.set()
        if service:
            service.close(keep=options.keep)
        broker.close()
    print(f"{kills} kills: {rows} readings stored once, {again} came again")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())

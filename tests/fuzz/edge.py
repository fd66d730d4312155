#!/usr/bin/env python3
"""Bent messages through the real listener of the release binary: nobody falls, nothing is lost, nobody else notices.

    .venv/bin/python tests/fuzz/edge.py --seed 1 [--inputs 20000] [--first 0] [--keep FOLDER]

Each input is a valid message bent by a few bytes or members (mutate.py, seeds.py), a function of (seed, number) alone:
  packet     a CONNECT and a few packets, 3.1.1 or 5, then the end of the line; the answer must end within 10 s
  websocket  the same within WebSocket frames, themselves bent
  json, gatt, fhir, vendor, hello, gateway   payloads in a valid publish; each must get its PUBACK
Asserted: the process lives and says nothing of a panic; every payload's PUBACK comes, in order; what receipts told of
readings is what the books say, and a recount of the rows says the same; a neighbour who sends all the while gets every
PUBACK and all its readings are stored once; no name, number, token or secret is in the log. A failure prints the line
that repeats it. At the end: how often each answer of the decoders was heard; tests/fuzz/coverage says which lines of
them that reached.
"""
import argparse
import collections
import datetime
import os
import shutil
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "outside"), HERE]
sys.dont_write_bytecode = True
import seeds  # noqa: E402
from meter import CST, Meter  # noqa: E402
from service import Broken, Service, free_port, until  # noqa: E402
from worker import WORKERS, Worker  # noqa: E402

NEIGHBOUR_RATE = 20         # readings a second
STRANGERS = 100             # devices of a worker that say packets, by turns: none of them comes back oftener than the edge takes it


def neighbours_reading(seq):
    """Ten minutes apart, long ago: a neighbour whom no rule need look at."""
    at = datetime.datetime(2023, 1, 1, tzinfo=CST) + datetime.timedelta(minutes=10 * seq)
    return {"kind": "blood_pressure", "time": at.isoformat(), "systolic": 118 + seq % 9, "diastolic": 76, "pulse": 64, "unit": "mmHg"}


class Fuzz:
    """One run against one service."""

    def __init__(self, args):
        self.seed, self.inputs, self.first = args.seed, args.inputs, args.first
        self.stopping = threading.Event()
        # Each bent stream is a login of the same few devices.
        self.service = Service("[broker.limits]\nreturn_rate = 0\n")
        self.mqtt, self.ws = self.service.mqtt, ("127.0.0.1", free_port())
        with open(self.service.config) as f:
            text = f.read()
        with open(self.service.config, "w") as f:
            f.write(text.replace('ws = ""', f'ws = "127.0.0.1:{self.ws[1]}"', 1))

    def prepare(self):
        service = self.service.start()
        homes = service.enrol(service.district()["team"], 2 + WORKERS * STRANGERS)
        self.neighbour = Meter(self.mqtt, *homes[0], neighbours_reading, rate=NEIGHBOUR_RATE, seed=self.seed)
        provision = lambda name, kind: (name, service.ask("POST", "/api/v1/devices", {"id": name, "kind": kind})["secret"])
        # One meter is a patient's; the others are nobody's, so that rules have little to do.
        meters = [homes[1], *(provision(f"meter-f{n}", "meter") for n in range(1, WORKERS))]
        gateways = [provision(f"gateway-f{n}", "gateway") for n in range(WORKERS)]
        for (gateway, _), (meter, _) in zip(gateways, meters):
            service.ask("PUT", f"/api/v1/gateways/{gateway}/devices", {"devices": [meter]})
        strangers = [homes[2 + n::WORKERS] for n in range(WORKERS)]
        self.clients = list(zip(meters, gateways, strangers))
        self.secrets = [secret for _, secret in [*meters, *gateways, *homes]]

    def run(self):
        """Says every input; the workers, ended."""
        workers = [Worker(n, self) for n in range(WORKERS)]
        self.neighbour.start()
        begun = time.monotonic()
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(1)
                if self.service.process.poll() is not None:
                    self.stopping.set()
        self.neighbour.ending.set()
        self.neighbour.join(30)
        self.seconds = time.monotonic() - begun
        return workers

    def faults(self, workers):
        """What does not hold, in words."""
        faults = [f"input {w.first_bad} to {w.last_bad}: {w.failure}" for w in workers if w.failure]
        if self.service.process.poll() is not None:
            return [*faults, f"the service ended with {self.service.process.returncode}: {self.service.tail()}"]
        if faults:
            return faults
        if self.neighbour.is_alive() or self.neighbour.trouble or self.neighbour.waiting:
            faults.append(f"the neighbour was not served: {self.neighbour.trouble or list(self.neighbour.waiting)[:5]}")
        return faults + self.wrong_books(workers) + self.unseemly_log()

    def wrong_books(self, workers):
        told = sum(s.readings for w in workers for s in w.senders.values())
        sent = len(self.neighbour.acked)
        strangers = {name for *_, strangers in self.clients for name, _ in strangers}
        today = datetime.datetime.now(CST).date()
        days = [(today - datetime.timedelta(days=1)).isoformat(), today.isoformat()]

        def state():
            total, devices = self.service.books(days)
            theirs = sum(devices.get(name, {}).get("accepted", 0) for name in strangers)
            return total, devices.get(self.neighbour.device, {}), total["accepted"] - theirs - sent
        try:
            until("the books to say what the receipts said", 20, lambda: state()[2] >= told, 0.3)
        except Broken:
            pass
        total, neighbour, fuzzed = state()
        faults = []
        if total["accepted"] != sum(total[k] for k in ("stored", "duplicate", "quarantined", "rejected")):
            faults.append(f"the books do not balance: {total}")
        if fuzzed != told:
            faults.append(f"receipts told of {told} readings, the books of {fuzzed}")
        if (neighbour.get("stored"), neighbour.get("accepted")) != (sent, sent) or self.neighbour.sent != self.neighbour.acked:
            faults.append(f"the neighbour sent {len(self.neighbour.sent)}, {sent} were acknowledged, the books say {neighbour}")
        self.total = total
        return faults

    def unseemly_log(self):
        self.service.log.flush()
        with open(os.path.join(self.service.folder, "log"), "rb") as f:
            log = f.read()
        words = [*seeds.CANARIES, *(s.encode() for s in self.secrets), b"panicked", b"Patient 1", b"Patient 2"]
        return [f"in the log: {word.decode()}" for word in words if word in log]

    def recount(self):
        """The end in order, then the rows counted again beside the books."""
        code = self.service.stop(60)
        if code:
            return [f"the service stopped with {code}: {self.service.tail()}"]
        done = self.service.run("audit", "books", "--data-dir", self.service.data, wait=600)
        return [] if done.returncode == 0 else [f"audit books: exit {done.returncode}: {done.stdout[-300:]}{done.stderr[-300:]}"]


def report(fuzz, workers):
    answers = collections.Counter()
    for worker in workers:
        answers.update(worker.answers)
    for title, mark in (("inputs", "input "), ("MQTT 5 heard", None), ("readings became", ": ")):
        rows = {k: v for k, v in answers.items() if (mark in k if mark else k.startswith(("CONNACK", "DISCONNECT", "closed")))}
        print(f"{title}: " + ", ".join(f"{k.removeprefix('input ')} {v:,}" for k, v in sorted(rows.items(), key=lambda kv: -kv[1])))
    print(f"books: {getattr(fuzz, 'total', None)}; the neighbour's readings: {len(fuzz.neighbour.acked):,}")
    print(f"{fuzz.inputs:,} inputs in {fuzz.seconds:.0f} s ({fuzz.inputs / fuzz.seconds:,.0f} a second)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--keep", help="copy the service's log there")
    args = parser.parse_args()
    fuzz = Fuzz(args)
    try:
        fuzz.prepare()
        workers = fuzz.run()
        faults = fuzz.faults(workers) or fuzz.recount()
        report(fuzz, workers)
        if args.keep:
            os.makedirs(args.keep, exist_ok=True)
            shutil.copy(os.path.join(fuzz.service.folder, "log"), args.keep)
    finally:
        fuzz.service.close()
    for fault in faults:
        print(f"FAILED {fault}")
    bad = [w for w in workers if w.failure]
    if bad:
        first, last = min(w.first_bad for w in bad), max(w.last_bad for w in bad)
        print(f"repeat: .venv/bin/python tests/fuzz/edge.py --seed {args.seed} --first {first} --inputs {last - first + 1}")
    if faults:
        print(f"repeat all: .venv/bin/python tests/fuzz/edge.py --seed {args.seed} --first {args.first} --inputs {args.inputs}")
    print("1 passed, 0 failed" if not faults else "0 passed, 1 failed")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()

"""Says the inputs: payloads over connections that must stay, packets over connections of their own."""
import collections
import json
import random
import socket
import threading

import mutate
import seeds
from meter import Line, length, publish_packet, text

KINDS = {"packet": 24, "websocket": 4, "json": 32, "gatt": 20, "fhir": 6, "vendor": 6, "hello": 2, "gateway": 6}
WORKERS = 4
WINDOW = 32                 # payloads without a PUBACK
LONGEST = 60_000            # a packet that is too long is a packet's fault, not a payload's
ANSWER = 10                 # seconds until a connection that was closed on our side has ended on the other


class Failure(Exception):
    """An input that did what none may do."""


def bent_payload(dice, kind, n, device):
    """(topic's tail, payload); a few are left as they were."""
    left = dice.randrange(3 if kind == "gatt" else 16) == 0      # a context finds its reading only when neither is bent
    if kind == "gatt":
        uuid, octets = dice.choice(seeds.gatt(n))
        return f"gatt/{uuid}", octets if left else mutate.some_bytes(dice, octets)
    if kind == "fhir":
        tail, value = "fhir", dice.choice(seeds.fhir(n))
    elif kind == "vendor":
        profile, value = dice.choice(seeds.vendor(n))
        tail = f"vendor/{profile}"
    elif kind == "hello":
        tail, value = dice.choice(("hello", "status")), seeds.hello(n)
    else:
        tail, value = "readings", dice.choice(seeds.readings(n, device if kind == "gateway" else None))
    payload = json.dumps(value).encode() if left else mutate.some_json(dice, value)
    return tail, payload[:LONGEST]


def bent_stream(dice, n, device, secret):
    """(CONNECT, packets, version) of a whole connection, of which one packet is bent."""
    version = dice.choice((4, 5))
    hello = dice.choices(seeds.connects(device, secret, version), (6, 1, 4, 1))[0]
    valid = list(seeds.packets(device, n, version).values())
    said = [dice.choice(valid) for _ in range(1 + dice.randrange(4))]
    if dice.randrange(4) == 0:
        hello = mutate.some_bytes(dice, hello)
    else:
        at = dice.randrange(len(said))
        said[at] = mutate.some_bytes(dice, said[at])
    return hello, said, version


def bent_websocket(dice, hello, said):
    """The opening and frames around packets, one of them bent; sometimes a control frame between, or an opening too long."""
    frames = [seeds.frame(hello), *(seeds.frame(p, dice.choice((2, 2, 2, 9))) for p in said), seeds.frame(b"\x03\xe8", 8)]
    if dice.randrange(8) == 0:
        frames.insert(1, seeds.frame(b"", dice.choice((9, 10, 0))))
    opening, bent = seeds.websocket_opening(9_000 if dice.randrange(32) == 0 else 0), dice.randrange(len(frames) + 1)
    if bent < len(frames):
        frames[bent] = mutate.some_bytes(dice, frames[bent])
    else:
        opening = mutate.some_bytes(dice, opening)
    return opening + b"".join(frames)


class Sender:
    """A client that stays: publishes in a window, PUBACKs in order, receipts counted."""

    def __init__(self, address, credential, tree, version, answers):
        self.device, secret = credential
        self.tree, self.version, self.answers = tree, version, answers
        self.line = Line(address, self.device, secret, version)
        self.waiting, self.pid, self.readings = collections.OrderedDict(), 0, 0
        body = b"\0\1" + (b"\0" if version == 5 else b"") + text(f"hb/v1/{tree}/{self.device}/receipts") + b"\x01"
        self.line.socket.sendall(b"\x82" + length(len(body)) + body)
        head, answer = self.line.packet()
        if head != 0x90 or answer[-1] != 1:
            raise Failure(f"receipts of {self.device} cannot be heard")

    def publish(self, n, tail, payload):
        while len(self.waiting) >= WINDOW:
            self.hear()
        self.pid = self.pid % 60_000 + 1
        self.waiting[self.pid] = n
        try:
            self.line.socket.sendall(publish_packet(f"hb/v1/{self.tree}/{self.device}/{tail}", payload, self.pid, self.version, False))
        except OSError as e:
            raise Failure(f"the connection of {self.device} was lost: {e}") from e

    def hear(self):
        """One packet: a PUBACK, or a receipt whose readings are counted."""
        try:
            head, body = self.line.packet()
        except OSError as e:
            raise Failure(f"no PUBACK for {self.device}: {e}") from e
        if head == 0x40:
            pid, expected = int.from_bytes(body[:2], "big"), next(iter(self.waiting), None)
            if pid != expected or len(body) > 2 and body[2] >= 0x80:
                raise Failure(f"PUBACK {body.hex()} where that of {expected} was due")
            del self.waiting[pid]
        elif head >> 4 == 3:
            at = 2 + int.from_bytes(body[:2], "big")
            if head & 6:
                self.line.socket.sendall(b"\x40\x02" + body[at:at + 2])
                at += 2
            if self.version == 5:
                at += 1 + body[at]
            results = json.loads(body[at:])["results"]
            self.readings += len(results)
            for result in results:
                for word in result.get("reasons", ["as it is"]):
                    self.answers[f"{result['result']}: {word}"] += 1
        elif head != 0xD0:
            raise Failure(f"{self.device} heard packet {head:#x} {body[:8].hex()}")
        return head

    def settle(self):
        """Everything is answered; what a ping comes after has come too."""
        while self.waiting:
            self.hear()
        self.line.socket.sendall(b"\xc0\0")
        while self.hear() != 0xD0:
            pass


class Worker(threading.Thread):
    """Every WORKERS-th input of a run."""

    def __init__(self, number, run):
        super().__init__(daemon=True)
        self.number, self.fuzz, self.failure, self.first_bad = number, run, None, None
        self.answers = collections.Counter()
        self.senders = {}

    def run(self):
        n = self.fuzz.first
        try:
            meter, gateway, self.strangers = self.fuzz.clients[self.number]
            version = 4 + self.number % 2
            self.senders = {"devices": Sender(self.fuzz.mqtt, meter, "devices", version, self.answers),
                            "gateways": Sender(self.fuzz.mqtt, gateway, "gateways", 9 - version, self.answers)}
            for n in range(self.fuzz.first + self.number, self.fuzz.first + self.fuzz.inputs, WORKERS):
                if self.fuzz.stopping.is_set():
                    return
                self.one(n)
            for sender in self.senders.values():
                sender.settle()
        except Exception as e:  # whatever it is, it is told with the input's number
            waiting = [w for s in self.senders.values() for w in s.waiting.values()]
            self.failure, self.first_bad = f"{type(e).__name__}: {e}", min([n, *waiting])
            self.last_bad = n
            self.fuzz.stopping.set()

    def one(self, n):
        dice = random.Random(f"{self.fuzz.seed}-{n}")
        kind = dice.choices(list(KINDS), list(KINDS.values()))[0]
        self.answers[f"input {kind}"] += 1
        if kind in ("packet", "websocket"):
            hello, said, version = bent_stream(dice, n, *self.strangers[n // WORKERS % len(self.strangers)])
            if kind == "packet":
                self.stream(n, self.fuzz.mqtt, hello + b"".join(said), version)
            else:
                self.stream(n, self.fuzz.ws, bent_websocket(dice, hello, said), version)
        else:
            sender = self.senders["gateways" if kind == "gateway" else "devices"]
            sender.publish(n, *bent_payload(dice, kind, n, self.senders["devices"].device))

    def stream(self, n, address, data, version):
        """Says everything, closes this side, and reads until the other side has closed too."""
        # From many addresses, or the machine would run out of ports: each stays taken for a minute.
        source = (f"127.1.{self.number}.{1 + n // WORKERS % 250}", 0)
        with socket.create_connection(address, ANSWER, source_address=source) as s:
            heard = b""
            try:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                while more := s.recv(65536):
                    heard += more
            except TimeoutError as e:
                raise Failure(f"a connection did not end within {ANSWER} s of its client's end") from e
            except OSError:
                pass                # closed while we spoke
        if version == 5 and address == self.fuzz.mqtt:
            self.note_reasons(heard)

    def note_reasons(self, heard):
        """Counts what MQTT 5 was told: the code of CONNACK and that of DISCONNECT, which comes last."""
        if heard[:1] == b"\x20" and len(heard) > 3:
            self.answers[f"CONNACK {heard[3]:#04x}"] += 1
        if heard[-3:-1] == b"\xe0\x01":
            self.answers[f"DISCONNECT {heard[-1]:#04x}"] += 1
        if not heard:
            self.answers["closed without a word"] += 1

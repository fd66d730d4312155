"""A meter with a memory, in plain sockets: pipelines publishes, forgets a reading only at its PUBACK, sends the rest again."""
import collections
import datetime
import json
import random
import socket
import struct
import threading
import time

CST = datetime.timezone(datetime.timedelta(hours=8))


def length(n):
    out = b""
    while True:
        n, low = n >> 7, n & 127
        out += bytes([low | (128 if n else 0)])
        if not n:
            return out


def text(s):
    b = s.encode()
    return struct.pack(">H", len(b)) + b


def connect_packet(device, secret, version):
    body = text("MQTT") + bytes([version, 0xC2]) + struct.pack(">H", 60) + (b"\0" if version == 5 else b"") + text(device) + text(device) + text(secret)
    return b"\x10" + length(len(body)) + body


def publish_packet(topic, payload, pid, version, again):
    body = text(topic) + struct.pack(">H", pid) + (b"\0" if version == 5 else b"") + payload
    return bytes([0x3A if again else 0x32]) + length(len(body)) + body


class Line:
    """One connection; `packet()` waits for a whole packet or raises OSError."""

    def __init__(self, address, device, secret, version):
        self.bytes = b""
        self.socket = socket.create_connection(address, 3)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(15)
        self.socket.sendall(connect_packet(device, secret, version))
        head, body = self.packet()
        if head != 0x20:
            raise OSError("no CONNACK")
        if body[1]:
            raise PermissionError(f"{device} refused with code {body[1]}")

    def packet(self):
        while True:
            n = shift = 0
            for at in range(1, min(len(self.bytes), 5)):
                n |= (self.bytes[at] & 127) << shift
                shift += 7
                if self.bytes[at] < 128:
                    if len(self.bytes) > at + n:
                        head, body = self.bytes[0], self.bytes[at + 1:at + 1 + n]
                        self.bytes = self.bytes[at + 1 + n:]
                        return head, body
                    break
            more = self.socket.recv(65536)
            if not more:
                raise OSError("closed")
            self.bytes += more


class Meter(threading.Thread):
    """Sends readings until told to finish. `make(seq)` gives a reading's members; the same seq gives the same reading."""

    def __init__(self, address, device, secret, make, version=4, window=20, per_message=1, rate=200.0, last=None, seed=0):
        super().__init__(daemon=True)
        self.address, self.device, self.secret, self.make, self.version = address, device, secret, make, version
        self.window, self.per_message, self.pause, self.last = window, per_message, per_message / rate, last
        self.random = random.Random(f"{seed}-{device}")
        self.sent, self.acked, self.waiting = set(), set(), collections.OrderedDict()
        self.acks = []              # (CLOCK_MONOTONIC in ns, numbers), each PUBACK when it was read
        self.seq, self.ending, self.trouble, self.due = 0, threading.Event(), None, 0.0

    def exhausted(self):
        return self.ending.is_set() or (self.last is not None and self.seq >= self.last)

    def payload(self, seqs):
        return json.dumps({"v": 1, "msgId": f"{self.device}-{seqs[0]}", "readings": [{"seq": s, **self.make(s)} for s in seqs]}).encode()

    def publish(self, line, pid, again):
        line.socket.sendall(publish_packet(f"hb/v1/devices/{self.device}/readings", self.payload(self.waiting[pid]), pid, self.version, again))

    def fill(self, line):
        """Puts a burst of new messages on the wire when the window and the rate allow, so that many are always in flight."""
        if self.exhausted() or time.monotonic() < self.due or len(self.waiting) >= self.window:
            return
        burst = self.random.randint(1, self.window - len(self.waiting))
        for _ in range(burst):
            if self.exhausted():
                break
            top = self.seq + self.per_message
            seqs = list(range(self.seq + 1, min(top, self.last or top) + 1))
            pid = next(p for p in range(self.seq % 60000 + 1, 65536) if p not in self.waiting)
            self.seq, self.waiting[pid] = seqs[-1], seqs
            self.sent.update(seqs)
            self.publish(line, pid, False)
        self.due = max(self.due, time.monotonic() - 0.1) + burst * self.pause

    def session(self, line):
        for pid in list(self.waiting):
            self.publish(line, pid, True)
        while not (self.exhausted() and not self.waiting):
            self.fill(line)
            if not self.waiting:
                time.sleep(max(0.0, min(self.due - time.monotonic(), 0.05)))
                continue
            head, body = line.packet()
            if head == 0x40:
                if self.version == 5 and len(body) > 2 and body[2] >= 0x80:
                    raise PermissionError(f"{self.device}: a good message was refused with reason {body[2]:#x}")
                seqs = self.waiting.pop(int.from_bytes(body[:2], "big"), [])
                self.acked.update(seqs)
                self.acks.append((time.monotonic_ns(), seqs))

    def run(self):
        while not (self.exhausted() and not self.waiting):
            line = None
            try:
                line = Line(self.address, self.device, self.secret, self.version)
                self.session(line)
            except PermissionError as e:
                self.trouble = str(e)
                return
            except OSError:
                time.sleep(self.random.uniform(0.005, 0.03))
            finally:
                if line:
                    line.socket.close()

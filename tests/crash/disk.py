"""What a disk may hold after a power cut: a model fed with the trace that recorder.c writes.

In: a trace. Out: for a cut between two operations and a dice, one folder that the disk could then show:
- bytes before a file's last fsync are there; of every later write and truncation each is there, is missing, or is torn
  at 512-byte sectors, whatever became of the others (so they are reordered too);
- names (create, rename, unlink, mkdir) since the last fsync that covers them: by the dice either as journalling file
  systems do it (in order: some first part of them; an fsync of a file brings all names before it), or as POSIX
  allows it at worst (any of them is missing; only an fsync of the folder itself counts);
- nothing is ever there that was not written. A sector is written whole or not at all (SQLite's own assumption).
"""
import mmap
import os
import shutil
import struct
import subprocess

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
OPEN, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, CLOSE, SYNC_FAILED, RMDIR, UNKNOWN = 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99
CREATED, EMPTIED, FOLDER = 1, 2, 4
HEAD = struct.Struct("<QQIiQQ")
SECTOR = 512


def recorder():
    """The shim's path; compiled when it is missing or older than its source."""
    source, made = os.path.join(HERE, "recorder.c"), os.path.join(ROOT, "target/crash/recorder.so")
    if not os.path.exists(made) or os.path.getmtime(made) < os.path.getmtime(source):
        os.makedirs(os.path.dirname(made), exist_ok=True)
        part = f"{made}.{os.getpid()}"
        subprocess.run(["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-shared", "-fPIC", "-o", part, source, "-ldl", "-lpthread"], check=True)
        os.replace(part, made)
    return made


class Trace:
    """The operations, in their one order: (begin, end, operation, handle, offset, bytes)."""

    def __init__(self, path):
        with open(path, "rb") as f:
            self.bytes = memoryview(mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ))
        self.at, self.ops, end = [], 0, 0
        while end + HEAD.size <= len(self.bytes):
            n = HEAD.unpack_from(self.bytes, end)[5]
            if end + HEAD.size + n > len(self.bytes):
                break                       # killed while it wrote its last line
            self.at.append(end)
            end += HEAD.size + n
        self.ops = len(self.at)

    def head(self, i):
        return HEAD.unpack_from(self.bytes, self.at[i])

    def op(self, i):
        begin, end, op, handle, offset, n = HEAD.unpack_from(self.bytes, self.at[i])
        start = self.at[i] + HEAD.size
        return begin, end, op, handle, offset, self.bytes[start:start + n]


class Inode:
    """A file's durable bytes, and what was done since."""

    def __init__(self):
        self.durable, self.pending = bytearray(), []

    def settle(self):
        for kind, offset, data in self.pending:
            change(self.durable, kind, offset, data)
        self.pending.clear()


def change(image, kind, offset, data):
    if kind == TRUNCATE:
        if offset < len(image):
            del image[offset:]
        else:
            image.extend(bytes(offset - len(image)))
        return
    if offset > len(image):
        image.extend(bytes(offset - len(image)))
    image[offset:offset + len(data)] = data


def torn(image, offset, data, dice):
    """Only some of the sectors that a write touches: the first ones, or any."""
    edges = [offset, *range(offset - offset % SECTOR + SECTOR, offset + len(data), SECTOR), offset + len(data)]
    pieces = list(zip(edges, edges[1:]))
    kept = pieces[:dice.randrange(len(pieces))] if dice.random() < 0.5 else [p for p in pieces if dice.random() < 0.5]
    for a, b in kept:
        change(image, WRITE, a, data[a - offset:b - offset])


class Names:
    """Which path leads to which file, and which changes of that are not yet durable."""

    def __init__(self):
        self.durable, self.pending = {}, []

    def settle(self, count):
        for op in self.pending[:count]:
            rename(self.durable, op)
        del self.pending[:count]

    def settle_folder(self, folder):
        stay = []
        for op in self.pending:
            if any(os.path.dirname(p) == folder for p in op[1:3] if isinstance(p, str)):
                rename(self.durable, op)
            else:
                stay.append(op)
        self.pending = stay


def rename(names, op):
    kind, path, other, inode = op
    if kind == UNLINK:
        if names.get(path) is inode:
            names.pop(path, None)
    elif kind == RENAME:
        if names.get(path) is inode:
            names.pop(path)
        names[other] = inode
    else:
        names[path] = inode


class Disk:
    """Runs through a trace; at any moment it can say what a power cut would leave."""

    def __init__(self, lies=()):
        """`lies`: ends of names whose fsyncs this disk forgets. It is the model's own test: a lying disk must be found out."""
        self.live, self.handles, self.lies, self.liars = {}, {}, tuple(lies), set()
        self.ordered, self.strict = Names(), Names()

    def name(self, kind, path, other, inode):
        for names in (self.ordered, self.strict):
            names.pending.append((kind, path, other, inode))

    def run(self, record):
        _, _, op, handle, offset, data = record
        if op == OPEN:
            self.open(handle, offset, bytes(data).decode())
        elif op in (WRITE, TRUNCATE):
            inode = self.handles[handle]
            inode.pending.append((op, offset, data))
        elif op == SYNC:
            if handle not in self.liars:
                self.sync(self.handles[handle])
        elif op == CLOSE:
            self.handles.pop(handle, None)
        elif op == RENAME:
            a, b = bytes(data).decode().split("\0")
            inode = self.live.pop(a)
            self.live[b] = inode
            self.name(RENAME, a, b, inode)
        elif op in (UNLINK, RMDIR):
            path = bytes(data).decode()
            self.name(UNLINK, path, None, self.live.pop(path, None))
        elif op == MKDIR:
            path = bytes(data).decode()
            self.live[path] = path
            self.name(MKDIR, path, None, path)
        elif op == SYNC_FAILED:
            raise AssertionError("an fsync failed while the trace was made")
        else:
            raise AssertionError(f"the model does not know: {bytes(data)[:80]!r}")

    def open(self, handle, what, path):
        if self.lies and path.endswith(self.lies):
            self.liars.add(handle)
        if what & FOLDER:
            self.handles[handle] = path
            return
        inode = self.live.get(path)
        if inode is None or what & CREATED:
            inode = self.live[path] = Inode()
            if what & CREATED:
                self.name(OPEN, path, None, inode)
        if what & EMPTIED:
            inode.pending.append((TRUNCATE, 0, b""))
        self.handles[handle] = inode

    def sync(self, what):
        if isinstance(what, str):
            self.strict.settle_folder(what)
            self.ordered.settle(len(self.ordered.pending))
            return
        what.settle()
        last = max((n + 1 for n, op in enumerate(self.ordered.pending) if op[3] is what), default=0)
        self.ordered.settle(last)

    def image(self, source, target, dice):
        """Writes what is left of the folder `source` into `target`. Returns a word on what was done to it."""
        worst = dice.random() < 0.5
        keep = dice.choice([0.0, 0.1, 0.5, 0.9, 1.0])
        names, said = self.names(worst, keep, dice), [f"names {'at worst' if worst else 'in order'}", f"keeps {keep}"]
        shutil.rmtree(target, ignore_errors=True)
        if names.get(source) is not None:
            os.makedirs(target)
        for path, inode in sorted(names.items()):
            if not isinstance(inode, Inode) or os.path.dirname(path) != source or names.get(source) is None:
                continue
            data = inode.durable
            if inode.pending:
                data, lost = self.left(inode, keep, dice)
                said.append(f"{os.path.basename(path)} {lost}")
            with open(os.path.join(target, os.path.basename(path)), "wb") as f:
                f.write(data)
        return ", ".join(said)

    def names(self, worst, keep, dice):
        names = dict((self.strict if worst else self.ordered).durable)
        if worst:
            left = [op for op in self.strict.pending if dice.random() < keep]
        else:
            left = self.ordered.pending[:dice.randint(0, len(self.ordered.pending))]
        for op in left:
            rename(names, op)
        return names

    @staticmethod
    def left(inode, keep, dice):
        image, kept, broken = bytearray(inode.durable), 0, 0
        for kind, offset, data in inode.pending:
            fate = dice.random()
            if fate < keep:
                change(image, kind, offset, data)
                kept += 1
            elif kind == WRITE and dice.random() < 0.4:
                torn(image, offset, data, dice)
                broken += 1
        return image, f"{kept} of {len(inode.pending)} kept, {broken} torn"

"""A real mosquitto on a port of its own, with its queues on disk: the broker that an installation already has."""
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from service import Broken, free_port, until

BINARY = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def is_there():
    return os.path.exists(BINARY)


class Mosquitto:
    """The same port and folder through every restart. `lines` are added to its configuration."""

    def __init__(self, lines=()):
        if not is_there():
            raise Broken("mosquitto is not installed (Debian: mosquitto)")
        self.folder = tempfile.mkdtemp(prefix="hearthbeat-mosquitto-")
        os.chmod(self.folder, 0o755)
        self.address = ("127.0.0.1", free_port())
        self.config, self.process = os.path.join(self.folder, "mosquitto.conf"), None
        self.log = open(os.path.join(self.folder, "log"), "ab")
        # As docs/operations.md tells: no queue is cut, and what changed is on disk within a second.
        settings = ["persistence true", f"persistence_location {self.folder}/", "autosave_on_changes true", "autosave_interval 1",
                    "max_queued_messages 0", "max_queued_bytes 0", "user root" if os.getuid() == 0 else "", f"listener {self.address[1]} 127.0.0.1", *lines]
        with open(self.config, "w") as f:
            f.write("\n".join(filter(None, settings)) + "\n")

    def start(self):
        self.process = subprocess.Popen([BINARY, "-c", self.config], stdout=self.log, stderr=self.log, start_new_session=True)
        until("mosquitto listens", 20, self.listens, 0.01)
        return self

    def listens(self):
        if self.process.poll() is not None:
            with open(os.path.join(self.folder, "log"), "rb") as f:
                raise Broken(f"mosquitto ended with {self.process.returncode}: {f.read()[-400:].decode(errors='replace')}")
        try:
            socket.create_connection(self.address, 1).close()
            return True
        except OSError:
            return False

    def kill(self, how=signal.SIGKILL):
        self.process.send_signal(how)
        self.process.wait(20)

    def close(self):
        if self.process and self.process.poll() is None:
            self.kill()
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)

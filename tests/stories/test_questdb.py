"""The analysts' database beside a running service: it holds what the journal holds, and devices never notice its absence."""
import json
import os
import subprocess
import sys
import urllib.parse
import urllib.request

import pytest
from house import House, eventually, pressure

SERVER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "questdb", "server")


class QuestDb:
    """A real server of this story's own; its folder outlives a kill."""

    def __init__(self, folder):
        self.folder, self.ports = folder, []
        self.start()

    def start(self):
        command = [sys.executable, SERVER, "run", "--data", self.folder, *self.ports]
        self.keeper = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.keeper.stdout.readline()
        if not line:
            why = self.keeper.stderr.read().strip()
            assert os.environ.get("HEARTHBEAT_QUESTDB") == "skip", f"QuestDB was NOT tried: {why} (HEARTHBEAT_QUESTDB=skip does without)"
            pytest.skip(f"QuestDB was NOT tried: {why}")
        self.at = json.loads(line)
        self.ports = [f"--{name}={self.at[name].rsplit(':', 1)[1]}" for name in ("http", "pg", "min")]

    def rows(self):
        """(device, seq, systolic) of every row, or none while it cannot say."""
        question = urllib.parse.urlencode({"query": "SELECT device, seq, systolic, patient FROM reading ORDER BY seq"})
        try:
            with urllib.request.urlopen(f"http://{self.at['http']}/exec?{question}", timeout=10) as answer:
                return [tuple(row) for row in json.load(answer)["dataset"]]
        except (OSError, KeyError, ValueError):
            return None

    def kill(self):
        os.kill(self.at["pid"], 9)
        self.close()

    def close(self):
        self.keeper.stdin.close()
        self.keeper.wait(20)


@pytest.fixture
def questdb(tmp_path):
    server = QuestDb(str(tmp_path / "questdb"))
    yield server
    server.close()


def at(minute):
    return f"2026-03-02T07:{minute:02}:00+08:00"


def test_analysts_see_what_the_journal_holds_through_an_absence_and_a_change_of_hands(questdb):
    config = f'\n[store]\nengine = "questdb"\n[store.questdb]\nhttp = "{questdb.at["http"]}"\npg = "{questdb.at["pg"]}"\nretry_max_seconds = 1\n'
    with House(config=config) as house:
        patient, meter = house.patient()
        meter.send(*[pressure(n, at(n), 120 + n, 80) for n in range(1, 11)])
        want = [(meter.device, n, 120.0 + n, patient) for n in range(1, 11)]
        eventually("ten rows in QuestDB", lambda: questdb.rows() == want, 30)
        report = lambda: house.ask("GET", "/api/v1/reports/population?from=2026-03-01T00:00:00Z&to=2026-03-09T00:00:00Z")  # noqa: E731
        eventually("a question over many people is asked there", lambda: report()["source"]["series"] == "questdb", 30)
        week = report()["items"]
        assert [(w["day"], w["patients"], w["readings"], w["systolic"]) for w in week] == [("2026-03-02", 1, 10, {"mean": 125.5, "min": 121.0, "max": 130.0})]

        questdb.kill()
        assert (report()["items"], report()["source"]["series"]) == (week, "embedded"), "the same figures without it"
        meter.send(*[pressure(n, at(n), 120 + n, 80) for n in range(8, 21)])
        assert house.call("GET", "/readyz", who=False)[0] == 200, "its absence is nothing to a device"
        assert len(house.readings(patient)) == 20
        questdb.start()
        want = [(meter.device, n, 120.0 + n, patient) for n in range(1, 21)]
        eventually("the absence made good, nothing doubled", lambda: questdb.rows() == want, 60)

        other = house.ask("POST", "/api/v1/patients", {"name": "Next", "teamId": house.team})["id"]
        binding = house.ask("GET", f"/api/v1/devices/{meter.device}/bindings")["items"][0]
        house.ask("PATCH", f"/api/v1/devices/{meter.device}/bindings/{binding['id']}", {"patientId": other})
        moved = [(device, seq, systolic, other) for device, seq, systolic, _ in want]
        eventually("every row under the right person", lambda: questdb.rows() == moved, 60)
        stages = {s["stage"]: s for s in house.ask("GET", "/api/v1/ops/pipeline")["stages"]}
        assert stages["questdb"]["lag"] == 0, stages["questdb"]

"""What whoever runs the service is told: every fault at once, when certificates end, who did what without it, an end in time."""
import datetime
import json
import re
import socket
import time

import pytest
from house import MONDAY, House, run
from pki import certificates


@pytest.fixture
def folder(tmp_path):
    data = str(tmp_path / "data")
    assert run("init", "--data-dir", data).returncode == 0
    return data


def test_check_lists_every_fault_with_its_line(tmp_path, folder):
    rules = tmp_path / "rules"
    rules.mkdir()
    for name in ("a.toml", "b.toml"):
        (rules / name).write_text('id = "BP-C1"\nnonsense = 3\n')
    file = tmp_path / "c.toml"
    file.write_text(f'[brokr]\nmqtt = ""\n[site]\ntime_zone = "Asia/Atlantis"\n[logging]\nformat = "xml"\nlevel = "loud"\n'
                    f'[broker]\nmqtts = "127.0.0.1:0"\n[broker.tls]\nkey_file = "/none.key"\ncert_file = "/none.pem"\n'
                    f'[api]\npublic_url = "not a url"\n[alerts]\nchain = []\n[registry]\nurl = "mysql://x"\n[rules]\nfolder = "{rules}"\n')
    done = run("check", "--config", str(file), "--data-dir", folder)
    lines = {int(n) for n in re.findall(re.escape(str(file)) + r":(\d+)", done.stderr)}
    assert done.returncode == 2 and lines == {1, 4, 6, 7, 12, 14, 16, 18}, done.stderr
    assert "a.toml" in done.stderr and "b.toml" in done.stderr and "unknown key `xml`" not in done.stderr
    file.write_text('[rules]\nfolder = "/none"\n')
    assert f"{file}:2: rules.folder" in run("check", "--config", str(file), "--data-dir", folder).stderr


def test_doctor_names_the_end_of_certificates_and_both_files(tmp_path, folder):
    files = certificates(tmp_path, "meter")
    file = tmp_path / "c.toml"
    file.write_text(f'[broker]\nmqtts = "127.0.0.1:0"\n[broker.tls]\ncert_file = "{files["server_cert"]}"\nkey_file = "{files["server_key"]}"\n')
    told = run("doctor", "--config", str(file), "--data-dir", folder).stdout
    end = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=2)).date()
    assert re.search(rf"certificates .*server_cert.pem: WARNING: renew it, until {end}", told), told
    for name in ("registry.db", "journal.db"):
        assert re.search(rf"ok  database +{name}: readable, SQLite 3", told), told


def test_what_is_done_without_the_service_is_written_down(tmp_path, folder):
    assert run("device", "provision", "m-1", "--data-dir", folder).returncode == 0
    assert run("user", "add", "auditor-1", "--roles", "auditor", "--data-dir", folder).returncode == 0
    for wrong in (("device", "provision", "m-2", "m 3/"), ("user", "add", "x", "--roles", "patient"), ("import", "/none.csv")):
        assert run(*wrong, "--data-dir", folder).returncode == 2, wrong
    assert run("device", "provision", "m-2", "--data-dir", folder).returncode == 0, "nothing was made of a wrong list"
    with House(folder=str(tmp_path), prepare=False) as house:
        house.start()
        made = run("audit", "verify", "--data-dir", folder)
        assert made.returncode == 0 and made.stdout.startswith("3 rows"), made.stdout


def test_a_half_sent_request_does_not_hold_up_the_end():
    with House() as house:
        host, port = house.addresses["http"].rsplit(":", 1)
        halves = [socket.create_connection((host, int(port))) for _ in range(2)]
        halves[0].sendall(b"GET /li")
        halves[1].sendall(b"POST /api/v1/session HTTP/1.1\r\nhost: x\r\ncontent-length: 500\r\n\r\n{")
        time.sleep(0.3)
        begun = time.monotonic()
        assert house.stop() == 0
        assert time.monotonic() - begun < 6, "the patience with requests is three seconds"
        for half in halves:
            half.close()


def test_a_leave_says_which_steps_it_empties_and_the_desk_hears_of_it():
    with House() as house:
        told = lambda: [m["data"]["step"] for m in house.sink.heard if m["type"] == "service.warning"]
        house.advance("PT1M")
        assert told() == [3], "no specialist and no head of the station"
        away = {"from": MONDAY, "to": "2026-03-05T08:00:00+08:00"}
        assert house.ask("POST", "/api/v1/leave", {"userId": house.gp, **away})["warnings"] == []
        answer = house.ask("POST", "/api/v1/leave", {"userId": house.manager, **away})
        assert answer["warnings"] == [{"teamId": house.team, "step": 1}], json.dumps(answer)
        house.advance("PT1M")
        assert told() == [3, 1]
        house.advance("P1D")
        assert told() == [3, 1], "once, not on each change or day"

"""What is kept stays kept: restarts, backups, full disks, other people's folders."""
import os
import shutil
import subprocess
import tempfile
import time

import pytest
from house import House, eventually, pressure, run


def test_a_backup_of_a_running_service_is_a_service(house):
    patient, meter = house.patient()
    meter.send(*[pressure(n, f"2026-03-02T07:{n:02}:00+08:00", 120 + n, 80) for n in range(1, 21)])
    copy = os.path.join(house.folder, "copy")
    done = run("backup", copy, "--data-dir", house.data)
    assert done.returncode == 0, done.stderr
    meter.send(pressure(21, "2026-03-02T07:30:00+08:00", 150, 80))
    back = os.path.join(house.folder, "back")
    assert run("restore", copy, "--data-dir", back).returncode == 0
    assert [r["seq"] for r in house.export(data=back)] == list(range(1, 21))
    assert house.stop() == 0
    house.data = back
    house.start()
    assert len(house.readings(patient)) == 20
    meter = house.meter(meter.device, house.secrets[meter.device])
    again = meter.send(pressure(20, "2026-03-02T07:20:00+08:00", 140, 80), pressure(21, "2026-03-02T07:30:00+08:00", 150, 80))
    assert [r["result"] for r in again] == ["duplicate", "stored"], "what the backup lacks comes from the meter's memory"


def test_restore_leaves_a_folder_alone_that_holds_something(house):
    copy = os.path.join(house.folder, "copy")
    assert run("backup", copy, "--data-dir", house.data).returncode == 0
    mine = os.path.join(house.folder, "mine")
    os.mkdir(mine)
    with open(os.path.join(mine, "diary.txt"), "w") as f:
        f.write("mine")
    assert run("restore", copy, "--data-dir", mine).returncode == 1
    assert os.listdir(mine) == ["diary.txt"]


def test_offline_commands_name_the_holder_while_the_service_runs(house):
    done = run("device", "provision", "bp-offline", "--data-dir", house.data)
    assert done.returncode == 1 and str(house.process.pid) in done.stderr and "POST /api/v1/devices" in done.stderr
    assert house.stop() == 0
    done = run("device", "provision", "bp-offline", "--data-dir", house.data, "--json")
    assert done.returncode == 0 and '"secret"' in done.stdout, done.stderr


def test_a_full_disk_acknowledges_nothing_lives_and_recovers():
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    folder = tempfile.mkdtemp(prefix="hearthbeat-full-")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], capture_output=True).returncode:
        shutil.rmtree(folder)
        pytest.skip("mount is not allowed here")
    try:
        with House(folder=folder) as house:
            patient, meter = house.patient()
            assert meter.send(pressure(1, "2026-03-02T07:00:00+08:00", 121, 80))[0]["result"] == "stored"
            filler = os.path.join(folder, "filler")
            with open(filler, "wb", buffering=0) as f:
                try:
                    while True:
                        f.write(b"x" * 4096)
                except OSError:
                    pass
            topic = f"hb/v1/devices/{meter.device}/readings"
            big = '{"v":1,"readings":[{"seq":2,"kind":"blood_pressure","time":"2026-03-02T07:01:00+08:00","systolic":122,"diastolic":80,"unit":"mmHg","note":"%s"}]}' % ("x" * 60000)
            info = meter.client.publish(topic, big, qos=1)
            eventually("readyz says disk_full", lambda: (s := house.call("GET", "/readyz?verbose", who=False))[0] == 503 and "disk_full" in str(s[1]), 30)
            assert house.call("GET", "/livez", who=False)[0] == 200
            assert not info.is_published(), "a PUBACK for what could not be stored"
            os.unlink(filler)
            eventually("the meter's own retry", info.is_published, 40)
            assert len(house.readings(patient)) == 2
            eventually("ready again", lambda: house.call("GET", "/readyz", who=False)[0] == 200, 15)
    finally:
        for _ in range(50):
            if subprocess.run(["umount", folder], capture_output=True).returncode == 0:
                break
            time.sleep(0.1)
        shutil.rmtree(folder, ignore_errors=True)

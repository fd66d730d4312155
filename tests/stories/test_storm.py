"""Two thousand meters are cut off at once, by a death of the service, and all come back at once."""
import asyncio
import datetime
import os
import random
import statistics
import sys
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "outside"))
from meter import CST, connect_packet, publish_packet  # noqa: E402
from service import Service  # noqa: E402

METERS = 2_000
ALL_BACK = 30               # seconds from the first moment at which the service can be reached again
TOGETHER = 64               # that connect at a time in calm weather


class Meter:
    """As a phone does it: sends, forgets at the PUBACK, comes back after a short and random pause."""

    def __init__(self, address, device, secret):
        self.address, self.device, self.secret = address, device, secret
        self.random, self.back = random.Random(device), None

    async def connect(self):
        self.reader, self.writer = await asyncio.open_connection(*self.address)
        self.writer.write(connect_packet(self.device, self.secret, 4))
        if await self.reader.readexactly(4) != b"\x20\x02\x00\x00":
            raise PermissionError(self.device)

    async def send(self, seq):
        at = datetime.datetime(2025, 6, 1, 7, 0, tzinfo=CST) + datetime.timedelta(hours=seq)
        payload = f'{{"v":1,"readings":[{{"seq":{seq},"kind":"blood_pressure","time":"{at.isoformat()}","systolic":121,"diastolic":79,"unit":"mmHg"}}]}}'
        self.writer.write(publish_packet(f"hb/v1/devices/{self.device}/readings", payload.encode(), seq, 4, False))
        if await self.reader.readexactly(4) != b"\x40\x02\x00" + bytes([seq]):
            raise PermissionError(f"{self.device}: no PUBACK")

    async def through_the_storm(self):
        """Waits for the cut; then back, the last reading again and a new one."""
        try:
            await self.reader.read(1)
        except OSError:
            pass
        while True:
            try:
                self.writer.close()
                await self.connect()
                await self.send(1)
                await self.send(2)
                self.back = time.monotonic()
                return
            except (OSError, asyncio.IncompleteReadError):
                await asyncio.sleep(self.random.uniform(0.05, 0.25))


async def tell(service, homes):
    meters, calm = [Meter(service.mqtt, *home) for home in homes], asyncio.Semaphore(TOGETHER)

    async def arrive(meter):
        async with calm:
            await meter.connect()
            await meter.send(1)
    await asyncio.gather(*map(arrive, meters))
    storm = asyncio.gather(*(m.through_the_storm() for m in meters))
    await asyncio.sleep(0)              # all of them wait now
    service.kill()
    await asyncio.to_thread(service.start)
    up = time.monotonic()
    await asyncio.wait_for(storm, ALL_BACK + 5)
    for meter in meters:
        meter.writer.close()
    return sorted(m.back - up for m in meters)


def test_two_thousand_meters_come_back_at_once_and_none_is_left_behind():
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < METERS + 200:
        pytest.skip(f"{METERS + 200} file descriptors are needed, `ulimit -Hn` says {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, METERS + 200), hard))
    service = Service()
    try:
        service.start()
        homes = service.enrol(service.district()["team"], METERS)
        back = asyncio.run(tell(service, homes))
        median = statistics.median(back)
        assert back[-1] <= ALL_BACK, f"the last was back after {back[-1]:.1f} s"
        assert back[-1] <= 4 * median + 3, f"half were back after {median:.1f} s, the last after {back[-1]:.1f} s: somebody was passed over"
        today = datetime.datetime.now(CST).date()
        total, _ = service.books([(today - datetime.timedelta(days=1)).isoformat(), today.isoformat()])
        assert (total["stored"], total["duplicate"], total["accepted"]) == (2 * METERS, METERS, 3 * METERS), "each reading once, its repeat told apart"
        assert service.stop() == 0
    finally:
        service.close()

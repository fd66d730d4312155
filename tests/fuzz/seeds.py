"""Valid messages of every kind that a meter, phone, gateway or kiosk may send; what the fuzzer bends.

Words and numbers that must never be seen in a log stand here as CANARIES.
"""
import base64
import json
import struct

from meter import connect_packet, length, publish_packet, text

# Numbers that nothing else has, in every unit; a note, a session token, a name.
CANARIES = [b"137.4417", b"18.2719", b"6.43219", b"116.0733", b"CanaryNote", b"CanarySessionToken0001", b"Canary Family"]


def sfloat(value, exponent=0):
    return struct.pack("<H", (exponent & 15) << 12 | value & 0xFFF)


def date(year, month=3, day=2, hour=7, minute=12, second=9):
    return struct.pack("<H5B", year, month, day, hour, minute, second)


def gatt(n):
    """(uuid, octets) of valid frames. Sixty-four inputs share a day and numbers, so that contexts find their readings and repeats come."""
    n //= 64
    when = date(2025, 1 + n % 12, 1 + n // 12 % 28, n // 336 % 24, n % 60)
    seq = lambda k: struct.pack("<H", 8 * n + k & 0xFFFF)
    glucose = lambda k, *values, flags=b"\x06": ("2a18", flags + seq(k) + when + b"".join(values))
    return [
        ("2a35", b"\x1e" + sfloat(138) + sfloat(88) + sfloat(104) + when + sfloat(62) + b"\x01" + b"\x04\x00"),
        ("2a35", b"\x00" + sfloat(121) + sfloat(79) + sfloat(0x7FF)),
        ("2a35", b"\x03" + sfloat(184, -1) + sfloat(117, -1) + sfloat(140, -1) + when),
        ("2a35", b"\x02" + sfloat(0x7FF) + sfloat(0x801) + sfloat(0x800) + when),
        glucose(0, struct.pack("<h", 30), sfloat(112, -5), b"\x11", b"\x00\x00", flags=b"\x1b"),
        glucose(1, sfloat(62, -4), b"\x12"),
        glucose(2, sfloat(50, -5), b"\x1a", b"\x20\x00", flags=b"\x0a"),
        glucose(3, sfloat(0x7FE), b"\x11"),
        glucose(4, sfloat(0x802), b"\x11"),
        *(("2a34", b"\x02" + seq(k) + bytes([meal])) for k, meal in ((0, 3), (1, 6), (3, 5), (5, 2))),
        ("2a34", b"\xdf" + seq(1) + b"\x00" + b"\x04" + sfloat(50, -3) + b"\x01" + b"\x51" + b"\x3c\x00\x32" + b"\x02" + sfloat(5, -6) + sfloat(65, -1)),
        ("2aa7", b"\x06\x00" + sfloat(112) + seq(6)),
        ("2aa7", (b"\x0d\xe3" + sfloat(98) + seq(7) + b"\x00\x00\x00" + sfloat(5, -1) + sfloat(90)) * 2),
        ("2b34", b"\x1e" + sfloat(131) + sfloat(84) + sfloat(97) + struct.pack("<I", 1_800_000 + n) + sfloat(71) + b"\x02" + b"\x00\x00"),
    ]


def readings(n, device=None):
    """Reading messages (section 3 of the device protocol)."""
    day, hour = 1 + n % 28, n % 24
    wall = f"2025-{1 + n // 28 % 12:02}-{day:02}T{hour:02}:{n % 60:02}:00"
    own = {"device": device} if device else {}
    pressure = {**own, "seq": n, "kind": "blood_pressure", "time": wall + "+08:00", "systolic": 137.4417, "diastolic": 88, "map": 104, "pulse": 62, "unit": "mmHg",
                "status": ["irregular_pulse"], "userSlot": 1}
    glucose = {**own, "seq": n + 1, "kind": "blood_glucose", "time": wall, "glucose": 6.43219, "unit": "mmol/L", "meal": "fasting", "specimen": "capillary"}
    return [
        {"v": 1, "msgId": f"m-{n}", "readings": [pressure]},
        {"v": 1, "msgId": f"m-{n}", "clock": {"device": wall, "reference": wall + "+08:00"}, "historical": True, "readings": [pressure, glucose]},
        {"v": 1, "readings": [{**pressure, "systolic": 18.2719, "diastolic": 11.2, "unit": "kPa", "symptoms": ["dizzy"], "medicationTaken": True, "note": "CanaryNote"}]},
        {"v": 1, "readings": [{**glucose, "glucose": 116.0733, "unit": "mg/dL", "mealName": "dinner", "meal": "after_meal"}, {**glucose, "seq": n + 2, "glucose": "HI"}]},
        {"v": 1, "readings": [{**glucose, "status": ["control_solution", "temperature_high"], "session": "CanarySessionToken0001"}]},
        {"v": 1, "readings": [{**pressure, "raw": {"char": "2a35", "hex": gatt(n)[0][1].hex()}, "systolic": 138, "unknown": {"deep": [1, [2, {"x": None}]]}}]},
        {"v": 1, "readings": [{**pressure, "seq": n + k} for k in range(8)]},
        {"v": 1, "site": {"name": "ward"}, "readings": [{**pressure, "time": wall + ".5", "colour": "blue"}, {**pressure, "time": None, "seq": n + 3}]},
        *({"v": 1, "readings": [{**reading, "raw": {"char": char, "hex": octets.hex()}}]} for reading, (char, octets) in framed(n, pressure, glucose)),
    ]


def framed(n, pressure, glucose):
    """Readings with the frame that they were read from, agreeing or nearly, in one unit or the other."""
    frames = gatt(n)
    plain = {"map": 104, "pulse": 62, "status": [], "userSlot": None}
    yield {**pressure, **plain, "systolic": 18.4, "diastolic": 11.7, "unit": "kPa"}, frames[2]
    yield {**pressure, **plain, "systolic": 138, "diastolic": 87.8}, frames[2]
    yield {**pressure, **plain, "systolic": 121, "diastolic": 79}, frames[1]
    yield {**glucose, "glucose": 6.2}, frames[5]
    yield {**glucose, "glucose": 112, "unit": "mg/dL"}, frames[4]
    yield {**glucose, "glucose": "HI"}, frames[7]
    yield {**glucose, "glucose": 6.2}, frames[9]


def quantity(value, code, **more):
    return {"value": value, "unit": code, "system": "http://unitsofmeasure.org", "code": code, **more}


def concept(*codes):
    """LOINC, or MDC where the code is one of its long numbers."""
    systems = ("http://loinc.org", "urn:iso:std:iso:11073:10101")
    return {"coding": [{"system": systems[code[:2] in ("15", "14", "16", "84") and "-" not in code], "code": code} for code in codes], "text": "CanaryNote"}


def fhir(n):
    """Observations of blood pressure and glucose, by LOINC and by MDC, a pulse of its own, Bundles."""
    when = f"2025-{1 + n // 28 % 12:02}-{1 + n % 28:02}T07:{n % 60:02}:00+08:00"

    def observation(code, **more):
        return {"resourceType": "Observation", "id": f"o{n}", "status": "final", "effectiveDateTime": when, "code": concept(*code), "subject": {"display": "Canary Family"}, **more}
    parts = [{"code": concept(code), "valueQuantity": quantity(value, unit)} for code, value, unit in
             (("8480-6", 137.4417, "mm[Hg]"), ("8462-4", 88, "mm[Hg]"), ("8478-0", 104, "mm[Hg]"), ("8867-4", 62, "/min"))]
    mdc = [{"code": concept(code), "valueQuantity": quantity(value, "kPa")} for code, value in (("150021", 18.2719), ("150022", 11.2), ("150023", 14))]
    words = [{"code": concept(f"8410608.{bit}"), "valueCodeableConcept": concept("1")} for bit in (0, 2, 5)]
    pressure = observation(["85354-9"], component=parts, identifier=[{"system": "urn:hearthbeat:seq", "value": str(n)}], note=[{"text": "CanaryNote"}],
                           extension=[{"url": "urn:hearthbeat:user-slot", "valueUnsignedInt": 1}, {"url": "urn:hearthbeat:session", "valueString": "CanarySessionToken0001"}])
    meal = {"code": concept("8417864"), "valueCodeableConcept": concept("8417868")}
    glucoses = [
        observation(["15074-8", "14743-9"], valueQuantity=quantity(6.43219, "mmol/L")),
        observation(["160184"], valueQuantity=quantity(116.0733, "mg/dL"), component=[meal]),
        observation(["160208"], valueQuantity=quantity(5.1, "mmol/L")),
        observation(["41653-7"], valueQuantity=quantity(600, "mg/dL", comparator=">")),
        observation(["14749-6"], valueQuantity=quantity(2.2, "mmol/L", comparator="<")),
        observation(["2339-0"], dataAbsentReason={"coding": [{"system": "http://terminology.hl7.org/CodeSystem/data-absent-reason", "code": "positive-infinity"}]}),
        observation(["99504-3"], valueQuantity=quantity(98, "mg/dL"), interpretation=[{"coding": [{"code": "<"}]}], effectiveInstant=when),
    ]
    pulse = observation(["8867-4"], valueQuantity=quantity(62, "/min"), derivedFrom=[{"reference": f"Observation/o{n}"}])
    bare = {**pressure, "component": parts[:2], "hasMember": [{"reference": "urn:uuid:pulse"}]}
    bundle = {"resourceType": "Bundle", "type": "collection", "entry": [{"fullUrl": f"urn:uuid:{k}", "resource": r} for k, r in (("bp", bare), ("pulse", pulse), ("glucose", glucoses[0]))]}
    return [pressure, observation(["150020"], component=mdc + words), bundle, {**pressure, "status": "amended"}, {**pressure, "modifierExtension": []}, pulse, *glucoses]


def vendor(n):
    """(profile, payload): the forms that adapters read, and one that nobody knows."""
    at = 1_740_000_000 + n * 60
    wall = f"2025-03-{1 + n % 28:02} 07:{n % 60:02}:00"
    gateway = lambda attribute, **values: {"from": "BLE", "time": at, "type": "reportAttribute", "data": {"attribute": attribute, "value": {"device_list": [{"scan_time": at, "ble_addr": "d616f9641622", **values}]}}}
    return [
        ("thingsboard", {"ts": at * 1000, "values": {"systolic": 137.4417, "diastolic": 88, "pulse": 62, "seq": n}}),
        ("thingsboard", [{"ts": at * 1000, "values": {"glucose": 6.43219, "unit": "mmol/L"}}, {"ts": at * 1000 + 1, "values": {"systolic": "121", "diastolic": "79", "unit": "mmHg"}}]),
        ("thingsboard", {"systolic": 18.2719, "diastolic": 11.2, "unit": "kPa"}),
        ("cn-push", {"HP": 138, "LP": 88, "HR": 72, "time": wall, "user": 1, "err": 0, "ihb": 1, "recordNo": n, "name": "Canary Family"}),
        ("cn-push", {"glu": 620, "unit": 1, "time": wall, "meal": 1}),
        ("cn-push", {"data": [{"glu": 116, "unit": "mg/dL", "measureTime": wall, "meal": "餐后"}, {"glu": 65535, "unit": 2, "time": wall}, {"glu": "HI", "unit": 1, "time": wall}]}),
        ("ble-gateway", gateway("BP_BIOLIGTH", bp_high=137, bp_low=95, PR=74)),
        ("ble-gateway", gateway("Contour_Elite", blood_glucose="108", marker="After Meal")),
        ("ble-gateway", {**gateway("AccuChek_Instant", blood_glucose="97"), "session": "CanarySessionToken0001", "nameEN": "Canary Family"}),
        ("nobody-knows", {"HP": 138, "LP": 88, "HR": 62}),
    ]


def packets(device, n, version):
    """What a client may say once it is in: packets by name."""
    five = version == 5
    none = b"\0" if five else b""
    topic = f"hb/v1/devices/{device}"
    props = lambda b: length(len(b)) + b if five else b""
    body = json.dumps(readings(n)[n % 7]).encode()
    laden = text(topic + "/readings") + struct.pack(">H", 1 + n % 65535) + props(b"\x01\x01\x02\0\0\0\x09\x08\0\x01r\x09\0\x01c\x23\0\x01\x26\0\x01k\0\x01v") + body
    packet = lambda first, b: bytes([first]) + length(len(b)) + b
    pid = struct.pack(">H", 1 + n % 65535)
    return {
        "publish": publish_packet(topic + "/readings", body, 1 + n % 65535, version, n % 2 == 0),
        "publish_properties": packet(0x32, laden),
        "publish_qos0": packet(0x30, text(topic + "/status") + none + b"on"),
        "subscribe": packet(0x82, pid + none + text(topic + "/receipts") + b"\x01" + text(topic + "/+") + b"\x00"),
        "subscribe_properties": packet(0x82, pid + props(b"\x26\0\x01k\0\x01v") + text(topic + "/#") + (b"\x2d" if five else b"\x01")),
        "unsubscribe": packet(0xA2, pid + none + text(topic + "/receipts")),
        "puback": packet(0x40, pid),
        "puback_reason": packet(0x40, pid + (b"\x00\x00" if five else b"")),
        "ping": b"\xc0\0",
        "publish_alias": packet(0x32, text("") + pid + props(b"\x23\0\x01") + body),
        "publish_odd": packet(0x30, text(topic + "/readings") + props(b"\x03\0\x04text\x08\0\x03a/b\x23\0\x02") + body),
        "subscribe_identifier": packet(0x82, pid + props(b"\x0b\x05") + text(topic + "/receipts") + b"\x01"),
        "puback_string": packet(0x40, pid + (b"\x00\x05\x1f\0\x02no" if five else b"")),
        "disconnect_string": packet(0xE0, b"\x04\x05\x1f\0\x02no" if five else b""),
        "disconnect": packet(0xE0, b"\x00\x05\x11\0\0\0\x09" if five else b""),
    }


def connects(device, secret, version):
    """CONNECTs of every shape: plain, persistent with a will, with all properties."""
    five = version == 5
    plain = connect_packet(device, secret, version)
    props = b"\x11\0\0\0\x3c\x21\0\x05\x27\0\0\x10\0\x22\0\x05\x19\x01\x17\x01\x26\0\x01k\0\x01v"
    will = b"\x05\x18\0\0\0\x01" if five else b""
    body = (text("MQTT") + bytes([version, 0xC4]) + struct.pack(">H", 60) + (length(len(props)) + props if five else b"") + text(device)
            + will + text(f"hb/v1/devices/{device}/status") + text("gone") + text(device) + text(secret))
    unlimited = bytearray(plain)
    unlimited[10:12] = b"\0\0"          # keep alive 0: the server's
    named = text("MQTT") + bytes([version, 0xC2, 0, 60]) + (b"\x0d\x15\0\x05SCRAM\x16\0\x02hi" if five else b"") + text(device) + text(device) + text(secret)
    return [plain, bytes(unlimited), b"\x10" + length(len(body)) + body, b"\x10" + length(len(named)) + named]


def websocket_opening(more=0):
    key = base64.b64encode(bytes(range(16))).decode()
    return (f"GET /mqtt HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: mqtt\r\nCookie: {'x' * more}\r\n\r\n").encode()


def frame(payload, opcode=2, mask=b"\x09\x08\x07\x06"):
    """A masked WebSocket frame."""
    size = len(payload)
    short, medium = bytes([0x80 | size & 127]), b"\xfe" + struct.pack(">H", size)
    head = bytes([0x80 | opcode]) + (short if size < 126 else medium if size % 3 else b"\xff" + struct.pack(">Q", size))
    return head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload))


def hello(n):
    """A birth message."""
    return {"model": "Canary Family", "firmware": "1.2", "battery": 80, "lastSeq": n,
            "clock": {"device": "2026-03-01T07:12:09", "reference": "2026-03-01T07:10:02+08:00"}}

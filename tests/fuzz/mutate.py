"""Bends valid messages, a little and often where decoders look: lengths, flags, numbers, ends. Pure; the dice are given."""
import json

BYTES = [0, 1, 2, 0x7F, 0x80, 0x81, 0xC0, 0xFE, 0xFF, ord('"'), ord("{"), ord("}"), ord("["), ord("]"), ord(","), ord(":"), ord("\\"), ord("-"), ord("e"), ord(".")]
TOKENS = ["null", "true", "-1", "0", "-0", "1e400", "1E-400", "9007199254740992", "9007199254740993", "18446744073709551616", "0.1000000000000000055511151231257827", "1" + "0" * 400,
          "01", "+1", "1.", ".5", "NaN", "Infinity", "\"\"", "\"HI\"", "\"\\u0000\"", "\"\\ud800\"", "\"é中\\n\"", "[]", "{}", "[" * 200 + "]" * 200, "{\"v\":1,\"v\":2}", "\"" + "x" * 600 + "\"",
          "\"1969-12-31T23:59:60Z\"", "\"9999-12-31T23:59:59+18:00\"", "\"2025-02-30T10:00:00\"", "\"2025-02-28T24:00:00\"", "\"mmHg\"", "\"blood_glucose\"", "\"fasting\"",
          # Words that decoders look for, in places where they are not expected.
          "\"kPa\"", "\"mg/dL\"", "\"mm[Hg]\"", "\"/min\"", "\"LO\"", "\">\"", "\"<\"", "\"control_solution\"", "\"general_fault\"", "\"preliminary\"", "\"8480-6\"", "\"15074-8\"", "\"160212\"",
          "\"negative-infinity\"", "\"2a18\"", "\"2025-03-01T07:12:00Z\"", "\"2025-03-01\"", "65535", "1", "2", "255"]


def some_bytes(dice, data, times=None):
    """`data` with one to four changes of bytes."""
    data = bytearray(data)
    for _ in range(times or 1 + dice.getrandbits(2)):
        at = dice.randrange(len(data) + 1)
        what = dice.randrange(8)
        if what == 0 and data:
            data[at % len(data)] ^= 1 << dice.randrange(8)
        elif what == 1 and data:
            data[at % len(data)] = dice.choice(BYTES)
        elif what == 2 and data:
            data[at % len(data)] = (data[at % len(data)] + dice.choice((-1, 1))) & 0xFF
        elif what == 3:
            del data[at:at + 1 + dice.randrange(8)]
        elif what == 4:
            data[at:at] = dice.randbytes(1 + dice.randrange(8))
        elif what == 5:
            data[at:at] = data[at:at + 1 + dice.randrange(40)]
        elif what == 6:
            del data[at:]
        elif what == 7:
            data += dice.randbytes(1 + dice.randrange(4))
    return bytes(data)


class Token(str):
    """Written into JSON as it is, right or wrong."""


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield from places(child, (*path, key))


def changed(value, path, change):
    """`value` with `change(parent, key)` done to a copy of what lies at `path`."""
    copy = dict(value) if isinstance(value, dict) else list(value)
    if len(path) == 1:
        change(copy, path[0])
    else:
        copy[path[0]] = changed(copy[path[0]], path[1:], change)
    return copy


def name(key, escaped):
    """A member's name; with an escape where that is wished, since decoders borrow names until they cannot."""
    plain = key.split("\0")[0]
    return f'"\\u{ord(plain[0]):04x}{plain[1:]}"' if escaped and plain[:2] == "sy" else json.dumps(plain)


def written(value):
    if isinstance(value, Token):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(name(k, len(value) % 3 == 0) + ":" + written(v) for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(written(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False)


def some_json(dice, value):
    """`value` with one to three members replaced, taken out, doubled, moved or grown; sometimes its text bent as well."""
    for _ in range(1 + dice.randrange(3)):
        path = dice.choice(list(places(value)))
        if not path:
            continue
        what = dice.randrange(6)
        token = Token(dice.choice(TOKENS))

        def change(parent, key):
            if what <= 2:
                parent[key] = token
            elif what == 3:
                del parent[key]
            elif what == 4 and isinstance(parent, dict):
                parent[f"{key}\0again"] = token if dice.randrange(2) else parent[key]
            elif what == 4:
                parent.insert(key, parent[key])
            elif isinstance(parent[key], list) and parent[key]:
                parent[key] = parent[key] * dice.choice((2, 25, 201))
            elif isinstance(parent[key], (int, float)) and not isinstance(parent[key], bool):
                parent[key] = parent[key] * dice.choice((-1, 0.1, 10, 1e6))
        value = changed(value, path, change)
    out = written(value).encode("utf-8", "surrogatepass")
    return some_bytes(dice, out, 1) if dice.randrange(5) == 0 else out

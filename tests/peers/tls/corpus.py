"""Hellos that are wrong, or odd, in every way we could think of, with what is to become of each.

corpus.py HOST PORT PATIENCE: PATIENCE is the gateway's hello-timeout and handshake-timeout, in seconds.
Exit 0 if everything became of them that should; else 1, and the rows that differ.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import hello as h
from hello import P256, P384, P521, X25519, record, records
from talk import END, conversation

SERVED12, SERVED13 = "served 0303 c02f", "served 0304 1301"
UNEXPECTED, OVERFLOW, FAILURE, ILLEGAL, DECODE, VERSION = (
    f"alert {number}" for number in (10, 22, 40, 47, 50, 70)
)

GOOD12 = h.hello()
GOOD13 = h.hello(h.extensions13())
CCS = record(b"\1", kind=20)
EARLY = record(bytes(range(64)), version=(3, 3), kind=23)


def padded(length):
    """A good hello of so many bytes, record head included."""
    bare = len(records(h.hello(h.extensions12() + [h.raw(21, b"")]), size=1 << 16))
    return records(h.hello(h.extensions12() + [h.raw(21, bytes(length - bare))]), size=1 << 16)


def with_extension(extension, base=h.extensions12):
    return records(h.hello(base() + [extension]))


def tls13(suites=(0x1301,), **changed):
    """A hello for TLS 1.3 with extensions replaced, or left out where they are None."""
    named = dict(zip(["sni", "groups", "signatures", "versions", "modes", "shares"], h.extensions13()))
    named.update(changed)
    return records(h.hello([e for e in named.values() if e is not None], suites=suites))


def sslv2():
    body = bytes([1, 3, 1, 0, 6, 0, 0, 0, 16]) + bytes.fromhex("00002f000035") + bytes(16)
    return (0x8000 | len(body)).to_bytes(2, "big") + body


# Name, flights (each a list of pieces) and what becomes of it.
SHAPES = [
    ("1.2", [[records(GOOD12)]], SERVED12),
    ("1.3", [[records(GOOD13)]], SERVED13),
    ("1.2, in records of one byte", [[records(GOOD12, 1)]], SERVED12),
    ("1.3, in records of one byte", [[records(GOOD13, 1)]], SERVED13),
    ("over three records", [[records(GOOD12, 40)]], SERVED12),
    ("over three records and segments", [[records(GOOD13, 70)[at : at + 99] for at in range(0, 400, 99)]], SERVED13),
    ("each byte a segment", [[bytes([b]) for b in records(GOOD12)]], SERVED12),
    ("record version 3.0", [[records(GOOD12, version=(3, 0))]], SERVED12),
    ("record version 3.3", [[records(GOOD12, version=(3, 3))]], SERVED12),
    ("record version 3.9", [[records(GOOD12, version=(3, 9))]], SERVED12),
    ("record version 2.0", [[records(GOOD12, version=(2, 0))]], "closed"),
    ("a record of no bytes first", [[record(b"") + records(GOOD12)]], DECODE),
    ("a record of no bytes in the middle", [[record(GOOD12[:50]) + record(b"") + record(GOOD12[50:])]], DECODE),
    ("a record of 2^14 + 1 bytes", [[b"\x16\3\1\x40\1"]], OVERFLOW),
    ("a record of 2^16 - 1 bytes", [[b"\x16\3\1\xff\xff"]], OVERFLOW),
    ("as long as may be", [[padded(16384)]], SERVED12),
    ("a byte longer than may be", [[padded(16385)]], DECODE),
    ("64 KiB long", [[records(h.hello(h.extensions12() + [h.raw(21, bytes(65000))]))]], DECODE),
    ("2^24 - 1 bytes announced", [[record(b"\1\xff\xff\xff" + bytes(400))]], DECODE),
    ("without end, in records of one byte", [[record(b"\1\0\x3f\0" + bytes(4)) + record(b"\0") * 4000]], DECODE),
    ("an unknown record type first", [[record(b"\0", kind=99), records(GOOD12)]], "closed"),
    ("heartbeat first", [[record(b"\1\0\0", kind=24), records(GOOD12)]], "closed"),
    ("change_cipher_spec first", [[CCS, records(GOOD12)]], UNEXPECTED),
    ("application data first", [[EARLY, records(GOOD12)]], UNEXPECTED),
    ("a fatal alert first", [[record(b"\2\x28", kind=21)]], "closed"),
    ("close_notify first", [[record(b"\1\0", kind=21), records(GOOD12)]], "closed"),
    ("a ServerHello", [[record(b"\2" + GOOD12[1:])]], UNEXPECTED),
    ("a HelloRequest", [[record(bytes(4))]], UNEXPECTED),
    ("a Finished", [[record(b"\x14\0\0\x0c" + bytes(12))]], UNEXPECTED),
    ("change_cipher_spec in the middle", [[record(GOOD12[:50]) + CCS + record(GOOD12[50:])]], UNEXPECTED),
    ("an alert in the middle", [[record(GOOD12[:50]) + record(b"\2\x5a", kind=21)]], "closed"),
    ("a second hello in the same record", [[record(GOOD12 + GOOD12)]], UNEXPECTED),
    ("a second hello in the next record", [[records(GOOD12) + records(GOOD12)], []], SERVED12 + ", " + UNEXPECTED),
    ("a second hello after the first answer", [[records(GOOD12)], [records(GOOD12)]], SERVED12 + ", " + UNEXPECTED),
    ("change_cipher_spec after the answer", [[records(GOOD12)], [CCS]], SERVED12 + ", " + UNEXPECTED),
    ("application data after the answer", [[records(GOOD12)], [EARLY]], SERVED12 + ", " + UNEXPECTED),
    ("a fatal alert after the answer", [[records(GOOD12)], [record(b"\2\x2a", kind=21)]], SERVED12 + ", closed"),
    ("silence after the answer", [[records(GOOD12)], []], SERVED12 + ", timed out"),
    ("the end after the answer", [[records(GOOD12)], [END]], SERVED12 + ", closed"),
    ("SSLv2", [[sslv2()]], VERSION),
    ("SSLv2, one byte a segment", [[bytes([b]) for b in sslv2()]], VERSION),
    ("nothing", [[]], "timed out"),
    ("nothing, then the end", [[END]], "closed"),
]

FIELDS = [
    ("client version 3.0", [[records(h.hello(version=(3, 0)))]], VERSION),
    ("client version 2.0", [[records(h.hello(version=(2, 0)))]], VERSION),
    ("client version 0.0", [[records(h.hello(version=(0, 0)))]], VERSION),
    ("client version 3.4 in 1.2", [[records(h.hello(version=(3, 4)))]], SERVED12),
    ("client version 4.4 in 1.2", [[records(h.hello(version=(4, 4)))]], SERVED12),
    ("client version 3.1 in 1.3", [[records(h.hello(h.extensions13(), version=(3, 1)))]], SERVED13),
    ("a session id of 32 bytes", [[records(h.hello(session=bytes(32)))]], SERVED12),
    ("a session id of 33 bytes", [[records(h.hello(session=bytes(33)))]], DECODE),
    ("a session id of 255 bytes", [[records(h.hello(session=bytes(255)))]], DECODE),
    ("no suites", [[records(h.hello(suites=()))]], DECODE),
    ("unknown suites only", [[records(h.hello(suites=(0x0A0A, 0xFEFE)))]], FAILURE),
    ("signalling suites only", [[records(h.hello(suites=(0x00FF, 0x5600)))]], FAILURE),
    ("fallback signalled", [[records(h.hello(suites=(ECDHE := h.ECDHE, 0x5600)))]], SERVED12),
    ("32,000 bytes of suites", [[records(h.hello(suites=(0x0A0A,) * 16000 + (ECDHE,)))]], DECODE),
    ("7,000 suites, the last one good", [[records(h.hello(suites=(0x0A0A,) * 7000 + (ECDHE,)))]], SERVED12),
    ("no compressions", [[records(h.hello(compressions=()))]], DECODE),
    ("no null compression", [[records(h.hello(compressions=(1,)))]], ILLEGAL),
    ("deflate and null", [[records(h.hello(compressions=(1, 0)))]], SERVED12),
    ("1.3 with deflate and null", [[records(h.hello(h.extensions13(), compressions=(1, 0)))]], ILLEGAL),
    ("no extensions at all", [[records(h.hello(extensions=[]))]], FAILURE),
    ("an empty list of extensions", [[records(h.with_number(h.hello(extensions=[]) + b"\0\0", 1, 3, len(h.hello(extensions=[])) - 2))]], FAILURE),
    ("bytes behind the extensions", [[records(h.with_number(GOOD12 + b"\0", 1, 3, len(GOOD12) - 3))]], DECODE),
    ("the same extension twice", [[with_extension(h.groups(P256))]], DECODE),
    ("an unknown extension twice", [[records(h.hello(h.extensions12() + [h.raw(0x1234, b"")] * 2))]], DECODE),
    ("1,000 unknown extensions", [[records(h.hello(h.extensions12() + [h.raw(n, b"") for n in range(0x4000, 0x43E8)]))]], SERVED12),
    ("no formats but compressed ones", [[records(h.hello([h.groups(P256), h.formats(1, 2), h.signatures()]))]], ILLEGAL),
    ("no groups", [[records(h.hello([h.signatures()]))]], FAILURE),
    ("no signatures", [[records(h.hello([h.groups(P256)]))]], FAILURE),
    ("a name that is an address", [[records(h.hello([h.sni(b"192.0.2.1"), *h.extensions12()[1:]]))]], SERVED12),
    ("a name that is none", [[records(h.hello([h.sni(b"not a name\0"), *h.extensions12()[1:]]))]], ILLEGAL),
    ("an empty name", [[records(h.hello([h.sni(b""), *h.extensions12()[1:]]))]], DECODE),
    ("two names", [[with_extension(h.raw(0, b"\0\x08\0\0\1a\0\0\1b"), lambda: h.extensions12()[1:])]], DECODE),
    ("fragments of 512 bytes wanted", [[with_extension(h.raw(1, b"\1"))]], SERVED12),
    ("fragments of no known size wanted", [[with_extension(h.raw(1, b"\x63"))]], SERVED12),
    ("records of 64 bytes wanted", [[with_extension(h.raw(28, b"\0\x40"), h.extensions13)]], SERVED13),
    ("records of no bytes wanted", [[with_extension(h.raw(28, b"\0\0"), h.extensions13)]], SERVED13),
    ("heartbeats wanted", [[with_extension(h.raw(15, b"\1"))]], SERVED12),
    ("no renegotiation info but a wrong one", [[with_extension(h.raw(0xFF01, b"\x04abcd"))]], SERVED12),
    ("a ticket that is none", [[with_extension(h.raw(35, bytes(200)))]], SERVED12),
]

GREASE = [h.raw(0x0A0A, b""), h.sni(), h.groups(0x1A1A, P256), h.signatures((0x2A, 0x2A), (8, 4)),
          h.versions((0x3A, 0x3A), (3, 4)), h.modes(), h.shares(0x1A1A, P256), h.raw(0xFAFA, b"\0")]

RETRIED = h.hello(h.extensions13()[:5] + [h.shares(P256)])

VERSION13 = [
    ("1.3 first, 1.2 second", [[tls13(versions=h.versions((3, 4), (3, 3)))]], SERVED13),
    ("1.2 first, 1.3 second", [[tls13(versions=h.versions((3, 3), (3, 4)))]], SERVED13),
    ("versions with 1.2 only", [[records(h.hello(h.extensions12() + [h.versions((3, 3))]))]], SERVED12),
    ("versions with 1.1 and 1.0 only", [[records(h.hello(h.extensions12() + [h.versions((3, 2), (3, 1))]))]], VERSION),
    ("versions of drafts only", [[tls13(versions=h.versions((0x7F, 28)))]], VERSION),
    ("GREASE wherever it may be", [[records(h.hello(GREASE, suites=(0x4A4A, 0x1301)))]], SERVED13),
    # RFC 8446 wants missing_extension of these three; whoever offers 1.3 has all of them.
    ("without key_share", [[tls13(shares=None)]], FAILURE),
    ("without groups", [[tls13(groups=None)]], FAILURE),
    ("without signatures", [[tls13(signatures=None)]], FAILURE),
    ("without psk_key_exchange_modes", [[tls13(modes=None)]], SERVED13),
    ("suites of 1.2 only", [[tls13(suites=(h.ECDHE,))]], FAILURE),
    ("an empty key_share", [[tls13(shares=h.raw(51, b"\0\0"))]], "retry 0017"),
    ("a share for a group that was not named", [[tls13(shares=h.shares(P384))]], "retry 0017"),
    ("a share for the second group", [[tls13(shares=h.shares(X25519))]], "retry 0017"),
    ("P-384 before P-256, share for P-256", [[tls13(groups=h.groups(P384, P256), shares=h.shares(P256))]], "retry 0018"),
    ("P-521 before P-256, share for P-521", [[tls13(groups=h.groups(P521, P256), shares=h.shares(P521))]], "retry 0017"),
    ("P-521 only", [[tls13(groups=h.groups(P521), shares=h.shares(P521))]], FAILURE),
    ("two shares for one group", [[tls13(shares=h.shares(P256, P256))]], ILLEGAL),
    ("a share of the wrong length", [[tls13(shares=h.raw(51, b"\0\5\0\x17\0\1\4"))]], FAILURE),
    ("a share that is no point", [[tls13(shares=h.raw(51, b"\0\x45\0\x17\0\x41\4" + bytes(64)))]], ILLEGAL),
    ("an empty share", [[tls13(shares=h.raw(51, b"\0\4\0\x17\0\0"))]], DECODE),
    ("asked again, says what was asked", [[tls13(shares=h.shares(X25519))], [records(RETRIED)]], "retry 0017, " + SERVED13),
    ("asked again, says the same", [[tls13(shares=h.shares(X25519))], [tls13(shares=h.shares(X25519))]], "retry 0017, " + ILLEGAL),
    ("asked again, says nothing", [[tls13(shares=h.shares(X25519))], []], "retry 0017, timed out"),
    ("asked again, leaves", [[tls13(shares=h.shares(X25519))], [END]], "retry 0017, closed"),
    ("asked again, says a malformed hello", [[tls13(shares=h.shares(X25519))], [record(h.with_number(RETRIED, 39, 2, 1))]], "retry 0017, " + DECODE),
    ("asked again, offers another suite", [[tls13(shares=h.shares(X25519))], [records(h.hello(h.extensions13(), suites=(0x1303,)))]], "retry 0017, " + ILLEGAL),
    ("early data without a PSK", [[with_extension(h.raw(42, b""), h.extensions13) + EARLY]], SERVED13),
    ("a PSK nobody issued", [[with_extension(h.raw(41, b"\0\x0a\0\4abcd\0\0\0\0\0\x21\x20" + bytes(32)), h.extensions13)]], SERVED13),
    ("a PSK that is not last", [[records(h.hello([h.raw(41, b"\0\x0a\0\4abcd\0\0\0\0\0\x21\x20" + bytes(32)), *h.extensions13()]))]], DECODE),
    ("a PSK without modes", [[tls13(modes=h.raw(41, b"\0\x0a\0\4abcd\0\0\0\0\0\x21\x20" + bytes(32)))]], DECODE),
    ("a cookie nobody gave", [[with_extension(h.raw(44, b"\0\1\1"), h.extensions13)]], SERVED13),
    ("change_cipher_spec behind it", [[records(GOOD13) + CCS]], SERVED13),
    # From here on the gateway's alerts are encrypted.
    ("application data in clear after the answer", [[records(GOOD13)], [EARLY]], SERVED13 + ", closed"),
    ("a second hello after the answer, 1.3", [[records(GOOD13)], [records(GOOD13)]], SERVED13 + ", closed"),
]

def cut_off():
    """A hello cut behind each of its parts: then silence, the end, or lengths that say so."""
    for version, message in [("1.2", GOOD12), ("1.3", GOOD13)]:
        whole = records(message)
        edges = {5 + at + more for _, at, width in h.vectors(message) for more in (0, width)} | {1, 3, 5}
        for edge in sorted(edges):
            yield f"{version} cut at {edge}, then silence", [[whole[:edge]]], "timed out"
            yield f"{version} cut at {edge}, then the end", [[whole[:edge], END]], "closed"
    body = h.vectors(GOOD12)[4][1]  # where the extensions begin
    for edge in sorted({at + more for _, at, width in h.vectors(GOOD12)[1:] for more in (0, width)}):
        # No extensions is a hello, too, if an old one.
        expected = FAILURE if edge in (body, body + 2) else DECODE
        yield f"1.2 ending honestly at {edge}", [[record(h.cut_honestly(GOOD12, edge))]], expected


def lies():
    """Each length of a hello, told wrong."""
    for version, message in [("1.2", GOOD12), ("1.3", GOOD13)]:
        for name, at, width in h.vectors(message):
            true = h.number(message, at, width)
            for lie, value in [("more", true + 1), ("less", true - 1), ("none", 0), ("most", (1 << 8 * width) - 1)]:
                if value < 0 or value == true:
                    continue
                told = record(h.with_number(message, at, width, value))
                expected = LIES.get((name, lie), DECODE)
                if expected == "served":
                    expected = SERVED12 if version == "1.2" else SERVED13
                yield f"{version}, {name}: {lie}", [[told]], expected


# Lies that add up to something else than a malformed hello.
LIES = {
    ("message", "more"): "timed out",  # it is waited for
    ("message", "less"): UNEXPECTED,  # the hello ends, and something is behind it
    ("message", "none"): UNEXPECTED,
    ("name of 0", "less"): "served",  # its last letter becomes a name of another kind, of any length
}


def main():
    host, port, patience = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    rows = [*SHAPES, *FIELDS, *VERSION13, *cut_off(), *lies()]
    names = [name for name, _, _ in rows]
    assert len(set(names)) == len(names), "every row has a name of its own"
    with ThreadPoolExecutor(24) as pool:
        became = list(pool.map(lambda row: conversation((host, port), patience, row[1]), rows))
    wrong = 0
    for (name, _, expected), seen in zip(rows, became):
        if seen != expected:
            wrong += 1
            print(f"{name}: {seen}, not {expected}")
    print(f"{len(rows)} hellos, {wrong} not as they should")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

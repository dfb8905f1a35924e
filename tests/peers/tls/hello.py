"""Hellos as tlslite-ng writes them, and where their vectors are."""

from tlslite.extensions import (
    ClientKeyShareExtension,
    ECPointFormatsExtension,
    KeyShareEntry,
    PskKeyExchangeModesExtension,
    SignatureAlgorithmsExtension,
    SNIExtension,
    SupportedGroupsExtension,
    SupportedVersionsExtension,
    TLSExtension,
)
from tlslite.messages import ClientHello

X25519, P256, P384, P521 = 29, 23, 24, 25

# Points that anybody may use as a public key: the base points.
POINTS = {
    X25519: bytes([9]) + bytes(31),
    P256: bytes.fromhex(
        "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296"
        "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
    ),
}
ECDHE = 0xC02F


def sni(name=b"gateway.test"):
    return SNIExtension().create(bytearray(name))


def groups(*numbers):
    return SupportedGroupsExtension().create(list(numbers))


def formats(*numbers):
    return ECPointFormatsExtension().create(list(numbers))


def signatures(*pairs):
    return SignatureAlgorithmsExtension().create(list(pairs) or [(4, 1), (8, 4)])


def versions(*pairs):
    return SupportedVersionsExtension().create(list(pairs) or [(3, 4), (3, 3)])


def shares(*numbers):
    entries = [KeyShareEntry().create(n, bytearray(POINTS.get(n, b"\1"))) for n in numbers]
    return ClientKeyShareExtension().create(entries)


def modes():
    return PskKeyExchangeModesExtension().create([1])


def raw(kind, body):
    return TLSExtension(extType=kind).create(kind, bytearray(body))


def extensions12():
    return [sni(), groups(P256, X25519), formats(0), signatures()]


def extensions13():
    return [sni(), groups(P256, X25519), signatures(), versions(), modes(), shares(P256)]


def hello(extensions=None, suites=(ECDHE, 0x1301), version=(3, 3), session=b"", compressions=(0,)):
    """A ClientHello: the handshake message, with its type and length."""
    extensions = extensions12() if extensions is None else extensions
    message = ClientHello().create(
        version, bytearray(range(32)), bytearray(session), list(suites), extensions=extensions or None
    )
    message.compression_methods = list(compressions)
    return bytes(message.write())


def records(message, size=1 << 14, version=(3, 1), kind=22):
    """A message in records of at most so many bytes."""
    pieces = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(record(piece, version, kind) for piece in pieces)


def record(payload, version=(3, 1), kind=22):
    return bytes([kind, *version]) + len(payload).to_bytes(2, "big") + payload


# Vectors inside an extension's body: name, offset and width of the length.
INNER = {
    0: [("names", 0, 2), ("name", 3, 2)],
    10: [("groups", 0, 2)],
    11: [("formats", 0, 1)],
    13: [("signatures", 0, 2)],
    43: [("versions", 0, 1)],
    45: [("modes", 0, 1)],
    51: [("shares", 0, 2), ("share", 4, 2)],
}


def vectors(message):
    """Name, offset and width of each length in a hello."""
    found = [("message", 1, 3), ("session id", 38, 1)]
    at = 39 + message[38]
    found.append(("suites", at, 2))
    at += 2 + number(message, at, 2)
    found.append(("compressions", at, 1))
    at += 1 + message[at]
    found.append(("extensions", at, 2))
    at += 2
    while at < len(message):
        kind, length = number(message, at, 2), number(message, at + 2, 2)
        found.append((f"extension {kind}", at + 2, 2))
        found += [(f"{name} of {kind}", at + 4 + o, w) for name, o, w in INNER.get(kind, [])]
        at += 4 + length
    return found


def number(message, at, width):
    return int.from_bytes(message[at : at + width], "big")


def with_number(message, at, width, value):
    return message[:at] + value.to_bytes(width, "big") + message[at + width :]


def cut_honestly(message, at):
    """The first `at` bytes, with the lengths around them as if no more had ever been there."""
    short = with_number(message[:at], 1, 3, at - 4)
    extensions = next(offset for name, offset, _ in vectors(message) if name == "extensions")
    return short if at < extensions + 2 else with_number(short, extensions, 2, at - extensions - 2)

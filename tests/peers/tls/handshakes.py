"""Whole handshakes of tlslite-ng, and what is wrong or odd during and after them.

handshakes.py HOST PORT: each row shakes hands, does something, and then logs in as a device would begin
to, or hears why not. Exit 0 if everything became of them that should; else 1, and the rows that differ.
"""

import socket
import sys

from tlslite.api import HandshakeSettings, TLSConnection, TLSRemoteAlert
from tlslite.constants import KeyUpdateMessageType
from tlslite.errors import TLSAbruptCloseError, TLSLocalAlert

import hello as h

LIMIT = 10
PREAMBLE = bytes([192, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4]) + b"LLED\0\x44\x45\x10\x80\x50\0\0\0\0\3\1" + bytes(64)
AUTH = b"\0\0\0\x12auth@amt.intel.com"


class Client:
    """One connection."""

    def __init__(self, address, session=None, **settings):
        self.tcp = socket.create_connection(address, timeout=LIMIT)
        self.tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.tls = TLSConnection(self.tcp)
        wanted = HandshakeSettings()
        for name, value in settings.items():
            setattr(wanted, name, value)
        self.tls.handshakeClientCert(settings=wanted, session=session, serverName="gateway.test")

    def logs_in(self):
        """Begins a device's login; the instance behind the gateway answers."""
        self.tries(lambda: self.tls.write(PREAMBLE))
        self.tries(lambda: self.tls.write(b"\5" + AUTH))
        heard = bytes(self.tls.read(min=1 + len(AUTH), max=1 + len(AUTH)))
        if not heard:
            return "closed"
        return "logged in" if heard == b"\6" + AUTH else f"heard {heard.hex()}"

    @staticmethod
    def tries(says):
        """Whoever is not heard any more was told why, and reads it next."""
        try:
            says()
        except (BrokenPipeError, ConnectionResetError):
            pass

    def closes(self):
        self.tls.close()
        self.tcp.close()

    def says(self, message):
        """A handshake message or a record, protected as the connection is."""
        for _ in self.tls._sendMsg(message):
            pass


def plain(**settings):
    def row(address):
        client = Client(address, **settings)
        word = f"{client.tls.getVersionName()} {client.tls.getCipherName()} {client.logs_in()}"
        client.closes()
        return word

    return row


def after(does, **settings):
    """Shakes hands, does something, logs in."""

    def row(address):
        client = Client(address, **settings)
        does(client)
        word = client.logs_in()
        client.closes()
        return word

    return row


def resumed(**settings):
    def row(address):
        first = Client(address, **settings)
        first.logs_in()
        first.closes()
        second = Client(address, session=first.tls.session, **settings)
        word = f"{'resumed' if second.tls.resumed else 'not resumed'}, {second.logs_in()}"
        second.closes()
        return word

    return row


def second_hello(client):
    """As a renegotiation begins, or an attack on one."""
    from tlslite.messages import ClientHello

    message = ClientHello().create(
        (3, 3), bytearray(32), bytearray(), [h.ECDHE], extensions=h.extensions12()
    )
    client.says(message)


def key_update(client):
    for _ in client.tls.send_keyupdate_request(KeyUpdateMessageType.update_requested):
        pass


def key_updates(count):
    def does(client):
        for _ in range(count):
            client.tries(lambda: key_update(client))

    return does


def empty_records(client):
    for _ in range(20):
        client.tls.write(b"")


def forged_record(client):
    client.tcp.sendall(h.record(bytes(40), version=(3, 3), kind=23))


def cleartext_alert(client):
    client.tcp.sendall(h.record(b"\2\x28", version=(3, 3), kind=21))


def record_of_2_to_the_15(client):
    client.tcp.sendall(b"\x17\3\3\x80\0" + bytes(1 << 15))


TLS12 = dict(minVersion=(3, 3), maxVersion=(3, 3), cipherNames=["aes256gcm"])
TLS13 = dict(minVersion=(3, 4), maxVersion=(3, 4))
LOGGED_IN12 = "TLS 1.2 aes256gcm logged in"
LOGGED_IN13 = "TLS 1.3 aes256gcm logged in"

ROWS = [
    ("1.2", plain(**TLS12), LOGGED_IN12),
    ("1.3", plain(**TLS13), LOGGED_IN13),
    ("1.0 to 1.3", plain(minVersion=(3, 1)), LOGGED_IN13),
    ("1.2 without extended master secret", plain(useExtendedMasterSecret=False, **TLS12), LOGGED_IN12),
    ("1.2 with encrypt-then-MAC wanted", plain(useEncryptThenMAC=True, **TLS12), LOGGED_IN12),
    ("1.2, records of 64 bytes wanted", plain(record_size_limit=64, **TLS12), LOGGED_IN12),
    ("1.3, records of 64 bytes wanted", plain(record_size_limit=64, **TLS13), LOGGED_IN13),
    ("1.1 at most", plain(minVersion=(3, 1), maxVersion=(3, 2)), "alert 70"),
    ("1.2, CBC only", plain(**TLS12 | dict(cipherNames=["aes128", "aes256"])), "alert 40"),
    ("1.2, RSA key exchange only", plain(keyExchangeNames=["rsa"], **TLS12), "alert 40"),
    ("1.2, ChaCha", plain(**TLS12 | dict(cipherNames=["chacha20-poly1305"])), "TLS 1.2 chacha20-poly1305 logged in"),
    ("1.3, asked again for P-384", plain(eccCurves=["secp521r1", "secp384r1"], keyShares=["secp521r1"], **TLS13), LOGGED_IN13),
    ("1.3, asked again for the first it named", plain(eccCurves=["x25519", "secp384r1"], keyShares=["secp384r1"], **TLS13), LOGGED_IN13),
    ("1.3, no share at all", plain(keyShares=[], **TLS13), LOGGED_IN13),
    ("1.3, P-521 only", plain(eccCurves=["secp521r1"], keyShares=["secp521r1"], **TLS13), "alert 40"),
    ("1.2, resumed", resumed(**TLS12), "resumed, logged in"),
    ("1.3, resumed", resumed(**TLS13), "resumed, logged in"),
    ("1.2, then a second hello", after(second_hello, **TLS12), "alert 100"),
    ("1.3, then a second hello", after(second_hello, **TLS13), "alert 10"),
    # So many in a row rustls takes; it has no alert for one more.
    ("1.3, then 32 key updates", after(key_updates(32), **TLS13), "logged in"),
    ("1.3, then 33 key updates", after(key_updates(33), **TLS13), "closed"),
    ("1.2, then empty records", after(empty_records, **TLS12), "logged in"),
    ("1.3, then empty records", after(empty_records, **TLS13), "logged in"),
    ("1.2, then a forged record", after(forged_record, **TLS12), "alert 20"),
    ("1.3, then a forged record", after(forged_record, **TLS13), "alert 20"),
    ("1.2, then an alert in clear", after(cleartext_alert, **TLS12), "alert 20"),
    # RFC 8446 wants record_overflow; rustls says decode_error.
    ("1.3, then a record of 2^15 bytes", after(record_of_2_to_the_15, **TLS13), "alert 50"),
]


def fate(row, address):
    try:
        return row(address)
    except TLSRemoteAlert as error:
        return f"alert {error.description}"
    except TLSLocalAlert as error:
        return f"objected with alert {error.description}: {error.message}"
    except TLSAbruptCloseError:
        return "closed without a word"
    except TimeoutError:
        return "hangs"
    except OSError as error:
        return error.__class__.__name__


def main():
    address = (sys.argv[1], int(sys.argv[2]))
    wrong = 0
    for name, row, expected in ROWS:
        seen = fate(row, address)
        if seen != expected:
            wrong += 1
            print(f"{name}: {seen}, not {expected}")
    print(f"{len(ROWS)} handshakes, {wrong} not as they should")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()

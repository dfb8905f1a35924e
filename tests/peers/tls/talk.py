"""One conversation over TCP, and what became of it in a word or two.

    served 0303 c02f    a ServerHello: version and suite
    retry 0018          a HelloRetryRequest for this group
    alert 50            a fatal alert in clear, and a close that is no reset
    closed              closed at once, without a word
    timed out           closed without a word, once the gateway's patience was over
    hangs               not even that
"""

import socket
import time

# The longest that anything may take beyond the gateway's patience: the machine may be busy.
SLACK = 8.0
# Between two pieces, so that each is a segment of its own.
PAUSE = 0.005
# A piece that is the end of what we have to say.
END = object()

RETRY = bytes.fromhex("cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c")


def conversation(address, patience, flights):
    """Says each flight, a list of pieces, and listens after each; what was heard is joined by commas."""
    began = time.monotonic()
    heard = []
    with socket.create_connection(address, timeout=patience + SLACK) as tcp:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number, pieces in enumerate(flights):
            say(tcp, pieces)
            word = listen(tcp)
            if word == "closed" and time.monotonic() - began >= patience:
                word = "timed out"
            heard.append(word)
            if not word.startswith(("served", "retry")):
                break
    return ", ".join(heard)


def say(tcp, pieces):
    for number, piece in enumerate(pieces):
        if number:
            time.sleep(PAUSE)
        try:
            if piece is END:
                tcp.shutdown(socket.SHUT_WR)
            else:
                tcp.sendall(piece)
        except OSError:
            return  # it has heard enough: listen to why


def listen(tcp):
    """The first thing that decides: a ServerHello, an alert or the end."""
    try:
        while True:
            kind, record = record_of(tcp)
            if kind == 21:
                return alert(tcp, record)
            if kind == 22 and record[:1] == b"\x02":
                return server_hello(record)
    except EOFError:
        return "closed"
    except ConnectionError:
        return "reset"
    except TimeoutError:
        return "hangs"


def record_of(tcp):
    head = exactly(tcp, 5)
    return head[0], exactly(tcp, int.from_bytes(head[3:5], "big"))


def exactly(tcp, length):
    heard = b""
    while len(heard) < length:
        more = tcp.recv(length - len(heard))
        if not more:
            raise EOFError
        heard += more
    return heard


def alert(tcp, record):
    level, description = record
    word = f"alert {description}" if level == 2 else f"warning {description}"
    try:
        tcp.shutdown(socket.SHUT_WR)
    except OSError:
        pass
    try:
        while tcp.recv(4096):
            pass
    except OSError as error:
        return f"{word}, then {error.__class__.__name__}"
    return word


def server_hello(record):
    session = record[38]
    suite, compression = record[39 + session : 41 + session], record[41 + session]
    if compression:
        return f"served with compression {compression}"
    extensions = extensions_of(record[44 + session :])
    if record[6:38] == RETRY:
        return f"retry {extensions[51].hex()}"
    version = extensions.get(43, record[4:6])
    return f"served {version.hex()} {suite.hex()}"


def extensions_of(rest):
    found = {}
    while len(rest) >= 4:
        kind, length = int.from_bytes(rest[:2], "big"), int.from_bytes(rest[2:4], "big")
        found[kind], rest = rest[4 : 4 + length], rest[4 + length :]
    return found

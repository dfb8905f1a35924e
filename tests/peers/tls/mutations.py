"""Hellos of tlslite-ng with random bytes changed: whatever becomes of them, they end in time.

mutations.py HOST PORT PATIENCE COUNT: the seed is printed, and can be given as TLS_HELLOS_SEED.
Exit 0 if every one was answered, closed or waited out; else 1, and the hellos that were not, in hex.
"""

import collections
import os
import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import hello as h
from talk import conversation

# What is no hello, ends: a word and its number, whatever it is.
ENDS = {"served", "retry", "alert", "closed", "timed"}


def mutant(chance):
    """A good hello, in records of any size, with up to six bytes changed, left out or put in."""
    extensions = chance.choice([h.extensions12, h.extensions13])()
    suites = [0x1301, 0x1303, 0xC02F, 0xC030, 0xCCA8, 0xC013, 0x002F]
    message = h.hello(
        extensions,
        suites=chance.sample(suites, chance.randint(1, len(suites))),
        session=chance.randbytes(chance.choice([0, 32])),
    )
    wire = bytearray(h.records(message, size=chance.choice([1, 7, 100, 1 << 14])))
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(wire))
        what = chance.random()
        if what < 0.8:
            wire[at] ^= 1 << chance.randrange(8)
        elif what < 0.9:
            del wire[at]
        else:
            wire.insert(at, chance.randrange(256))
    return bytes(wire)


def main():
    address, patience, count = (sys.argv[1], int(sys.argv[2])), float(sys.argv[3]), int(sys.argv[4])
    seed = int(os.environ.get("TLS_HELLOS_SEED") or time.time_ns() % 10**9)
    print(f"TLS_HELLOS_SEED={seed}", flush=True)
    chance = random.Random(seed)
    mutants = [mutant(chance) for _ in range(count)]

    def fate(wire):
        began = time.monotonic()
        return conversation(address, patience, [[wire]]), time.monotonic() - began

    with ThreadPoolExecutor(24) as pool:
        fates = list(pool.map(fate, mutants))
    hung = [wire for wire, (word, _) in zip(mutants, fates) if word.split()[0] not in ENDS]
    for wire in hung:
        print(wire.hex())
    tally = collections.Counter(" ".join(word.split()[:2]) for word, _ in fates)
    print(", ".join(f"{word}: {number}" for word, number in tally.most_common()))
    print(f"{count} mutants, {len(hung)} did not end, the longest took {max(t for _, t in fates):.1f} s")
    sys.exit(1 if hung else 0)


if __name__ == "__main__":
    main()

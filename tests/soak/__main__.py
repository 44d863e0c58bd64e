"""Runs it: ``python -m soak --seconds 600``.

Every answer is checked, and what leaks is told. Ends with status 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import faulthandler
import sys

from soak.soak import MOST_GROWTH, Soak

ROUNDS = 20
MOST_TRANSLATED = 2 << 30
"""Bytes by which the process may grow on an emulator, which keeps its translation of code that is unmapped."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to go on")
    parser.add_argument("--threads", type=int, default=8, help="at the same time")
    parser.add_argument("--seed", type=int, default=0, help="of what they do")
    parser.add_argument("--emulated", action="store_true", help="the processor is, by what keeps memory for all code")
    given = parser.parse_args()
    faulthandler.enable()
    faulthandler.dump_traceback_later(given.seconds + 300, exit=True)
    soak = Soak(given.threads, given.seed, MOST_TRANSLATED if given.emulated else MOST_GROWTH)
    soak.run(given.seconds, ROUNDS)
    lines = [f"{sum(soak.turns.values())} turns of {given.threads} threads"]
    lines += [f"{count:9} {name}" for name, count in soak.turns.most_common()]
    lines += [f"after round {number}: {left}" for number, left in enumerate(soak.left, 1)]
    lines += soak.failures or ["nothing is wrong"]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(bool(soak.failures))


if __name__ == "__main__":
    sys.exit(main())

"""Checks random networks: ``python -m networks --seconds 600 --folder FOLDER``, or the one of a seed.

Run it in the folder of the tests, or with that folder and ``src`` in PYTHONPATH. Nothing is written but into FOLDER,
where a later run goes on: ``tally.json``, and ``seed-N.txt`` for networks that were computed wrong, made smaller.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from pathlib import Path

from networks.checking import Verdict, check
from networks.choices import SeededChoices
from networks.drive import Driver, cores
from networks.generate import network_of
from networks.isolation import Ended, isolated
from networks.network import Network, text
from networks.running import MAIN, Configuration, deal
from networks.shrink import shrink

MOST_MEMORY = 12 << 30
CANDIDATE_SECONDS = 60.0
ATTEMPTS = 3


def main() -> int:
    parser = argparse.ArgumentParser(prog="networks", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to go on")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--folder", type=Path, help="where results are kept")
    parser.add_argument("--seed", "--only", type=int, help="check the network of one seed only")
    parser.add_argument("--shrink", type=float, default=0.0, help="seconds to make it smaller in, if it is wrong")
    parser.add_argument("--serve", action="store_true", help="check the networks of seeds on standard input")
    given = parser.parse_args()
    if given.serve:
        return _serve()
    if given.seed is not None:
        return _one(given.seed, given.shrink)
    if given.folder is None:
        parser.error("--folder is missing: where results are to be kept")
    given.folder.mkdir(parents=True, exist_ok=True)
    tally = Driver(given.folder.resolve(), given.seconds, given.jobs, given.first).run()
    _say(tally.table())
    return 1 if set(tally.outcomes) - {"equal", "refused"} else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def configurations_of(seed: int) -> list[Configuration]:
    """Mostly one, sometimes the usual one and another."""
    choices = SeededChoices((seed, 2))
    dealt = deal(choices)
    return [dealt] if choices.integer(0, 9) else [MAIN, dealt]


def _serve() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    for line in sys.stdin:
        seed = int(line)
        verdict = check(network_of(seed), configurations_of(seed), seed)
        _say(json.dumps({**vars(verdict), "kind": verdict.kind}))
    return 0


def _one(seed: int, seconds: float) -> int:
    network, configurations = network_of(seed), configurations_of(seed)
    verdict = _isolated(network, configurations, seed)
    _say(f"seed {seed}, {'; '.join(map(str, configurations))}: {verdict.outcome}\n{verdict.detail}\n")
    if not verdict.is_bad or not seconds:
        _say(text(network))
        return int(verdict.is_bad)

    def is_wrong(candidate: Network) -> bool:
        count = ATTEMPTS if verdict.outcome == "different" else 1
        attempts = (_isolated(candidate, configurations, seed + attempt) for attempt in range(count))
        return any(found.outcome == verdict.outcome and _alike(found, verdict) for found in attempts)

    smaller = shrink(network, is_wrong, seconds)
    found = _isolated(smaller, configurations, seed)
    _say(f"smaller, {len(smaller.nodes)} operators: {found.detail}\n{text(smaller)}\n\n{smaller!r}")
    return 1


def _alike(a: Verdict, b: Verdict) -> bool:
    """Whether two exceptions are of one class and place."""
    return a.outcome != "failed" or a.detail.split(":")[:2] == b.detail.split(":")[:2]


def _isolated(network: Network, configurations: list[Configuration], seed: int) -> Verdict:
    try:
        return isolated(lambda: check(network, configurations, seed), CANDIDATE_SECONDS)
    except Ended as error:
        return Verdict("failed", f"Ended: {error}")


if __name__ == "__main__":
    sys.exit(main())

"""Attacks the project with hostile inputs: ``python -m fuzzing --seconds 600 --out FOLDER``, or with that of a seed.

Run it in the folder of the tests, or with that folder and ``src`` in PYTHONPATH. Nothing is written but into FOLDER,
where a later run goes on: ``tally.json``; for every finding ``seed-N.txt`` and ``seed-N.input``, made smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from fuzzing.checking import PATIENCE, judge, judge_apart, limit_memory, shrink
from fuzzing.targets import TARGETS, sample
from networks.drive import Driver, Work, cores
from tensorwright.base.files import replacing


def main() -> int:
    parser = argparse.ArgumentParser(prog="fuzzing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="how long to go on")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes")
    parser.add_argument("--seed", type=int, default=0, help="the first seed")
    parser.add_argument("--out", type=Path, help="where results are kept")
    parser.add_argument("--target", action="append", default=[], choices=[t.name for t in TARGETS], help="attack this")
    parser.add_argument("--only", type=int, metavar="SEED", help="judge the input of one seed")
    parser.add_argument("--file", type=Path, help="judge an input of the one target given, with the seed given")
    parser.add_argument("--shrink", type=float, default=0.0, help="seconds to make it smaller in, if it is bad")
    parser.add_argument("--serve", action="store_true", help="judge the inputs of seeds on standard input")
    given = parser.parse_args()
    if given.serve:
        return _serve(given.target)
    if given.only is not None:
        return _one(given.only, given.shrink, given.out, given.target)
    if given.file is not None:
        verdict = judge_apart(sample(0, given.target)[0], given.file.read_bytes(), given.seed)
        _say(f"{verdict.outcome}: {verdict.detail}")
        return int(verdict.is_bad)
    if given.out is None:
        parser.error("--out is missing: where results are to be kept")
    folder = given.out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    targets = (argument for name in given.target for argument in ("--target", name))
    work = Work("fuzzing", ("--out", str(folder), *targets), "inputs", PATIENCE, 2000, "by target")
    tally = Driver(folder, given.seconds, given.jobs, given.seed, work).run()
    _say(tally.table(work))
    return 1 if set(tally.outcomes) - {"equal", "refused"} else 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _serve(names: list[str]) -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # Whatever else is printed is no answer.
    sample(0)
    for line in sys.stdin:
        limit_memory()
        target, data = sample(int(line), names)
        verdict = judge(target, data, int(line))
        answers.write(json.dumps({**vars(verdict), "kind": verdict.kind}) + "\n")
        answers.flush()
    return 0


def _one(seed: int, seconds: float, folder: Path | None, names: list[str]) -> int:
    target, data = sample(seed, names)
    verdict = judge_apart(target, data, seed)
    _say(f"seed {seed}, {target.name}, {len(data)} bytes: {verdict.outcome}\n{verdict.detail}")
    if not verdict.is_bad:
        return 0
    _write(data, seed, folder)

    def is_bad(candidate: bytes) -> bool:
        return judge_apart(target, candidate, seed).kind == verdict.kind

    smaller = shrink(target, data, is_bad, seconds)
    _write(smaller, seed, folder)
    _say(f"smaller, {len(smaller)} bytes: {judge_apart(target, smaller, seed).detail}")
    return 1


def _write(data: bytes, seed: int, folder: Path | None) -> None:
    if folder is not None:
        with replacing(folder / f"seed-{seed}.input") as file:
            file.write(data)


if __name__ == "__main__":
    sys.exit(main())

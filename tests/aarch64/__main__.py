"""Builds plans for AArch64, runs them on QEMU's, then the runtime's tests and the soak: ``python -m aarch64 FOLDER``.

The folder keeps QEMU and the other machine's Python, which are fetched the first time. Says what is wrong, and ends
with status 1 if anything is.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from aarch64.machine import Machine, Missing, machine_in
from aarch64.plans import jobs, write
from networks.drive import cores

TESTS = Path(__file__).parents[1]
SOURCES = TESTS.parent / "src"
RUNTIME = (
    "base/test_files.py", "base/test_text.py", "devices/test_code.py", "devices/test_memory.py",
    "devices/test_stream.py", "plan/test_file.py", "plan/test_manifest.py", "plan/test_memory.py",
    "runtime/test_bindings.py", "runtime/test_buffers.py", "runtime/test_context.py", "runtime/test_engine.py",
    "runtime/test_arrays.py", "runtime/test_pool.py", "runtime/test_profiler.py",
)  # fmt: skip
"""Tests of the runtime that need no compiler but LLVM's, for plans that are written by hand."""
LEFT_OUT = {
    "the memory that the stress test leaves": "QEMU keeps its translation of code that is unmapped",
    "tests of instruction sets": "they are of another family",
    "builds, the command line, signed plans, faults": "they compile many kernels, with LLVM at a tenth of its speed",
    "whatever times kernels": "the times would be those of the emulation",
}
"""What is not run, and why."""
PYTEST = "import sys; sys.executable = sys.argv[1]; import pytest; sys.exit(pytest.main(sys.argv[2:]))"
PATIENCE = 3600
SOAK_SECONDS, SOAK_THREADS = 120, 4


def main() -> int:
    parser = argparse.ArgumentParser(prog="aarch64", description=__doc__)
    parser.add_argument("folder", type=Path, help="where QEMU and the other machine's Python are kept")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of the plans, build and run every Nth only")
    parser.add_argument("--jobs", type=int, default=cores(), help="processes")
    parser.add_argument("--skip-tests", action="store_true", help="run the plans only")
    given = parser.parse_args()
    try:
        machine = machine_in(given.folder.resolve())
    except Missing as error:
        _say(str(error))
        return 1
    with tempfile.TemporaryDirectory(prefix="plans-", dir=given.folder) as folder:
        count = _build(Path(folder), given.every)
        answers = _answers(machine, Path(folder), given.jobs)
    wrong = [answer for answer in answers if not answer.endswith("\tright")]
    for answer in wrong:
        _say(answer)
    _say(f"{count} plans, {len(answers) - len(wrong)} right on AArch64, {count - len(answers) + len(wrong)} not")
    failed = not given.skip_tests and any([_runtime_tests_fail(machine), _soak_fails(machine)])
    for name, reason in LEFT_OUT.items():
        _say(f"not run: {name}: {reason}")
    return int(failed or bool(wrong) or len(answers) != count)


def _build(folder: Path, every: int) -> int:
    count = 0
    for count, job in enumerate(islice(jobs(), 0, None, every), 1):  # noqa: B007  # The last is what counts.
        write(job, folder)
    return count


def _answers(machine: Machine, folder: Path, parts: int) -> list[str]:
    """A line for every plan that gave an answer, right or wrong."""

    def ask(number: int) -> str:
        there = str(Path(__file__).with_name("there.py"))
        command = [machine.python, there, folder, str(parts), str(number)]
        environment = machine.environment([SOURCES])
        found = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
        )
        return found.stdout

    with ThreadPoolExecutor(parts) as pool:
        return [line for text in pool.map(ask, range(parts)) for line in text.splitlines()]


def _runtime_tests_fail(machine: Machine) -> bool:
    command = [machine.python, "-c", PYTEST, machine.python, "-q", "-p", "no:cacheprovider", *RUNTIME]
    environment = machine.environment([SOURCES, TESTS])
    return subprocess.run(command, cwd=TESTS, env=environment, timeout=PATIENCE, check=False).returncode != 0


def _soak_fails(machine: Machine) -> bool:
    words = ["--seconds", str(SOAK_SECONDS), "--threads", str(SOAK_THREADS), "--emulated"]
    environment = machine.environment([SOURCES, TESTS])
    command = [machine.python, "-m", "soak", *words]
    return subprocess.run(command, cwd=TESTS, env=environment, timeout=PATIENCE, check=False).returncode != 0


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

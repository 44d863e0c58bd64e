"""ONNX's own test suite, with real builds: every output computed three times, into memory that is poisoned before.

In the normal suite a part of the node cases is dealt, another one for each --seed; ``--conformance`` (`make
test-conformance`) runs all of them, also tuned, with other numbers of threads and for other instruction sets.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pytest

import tensorwright as tw
from conformance.suite import KINDS, Case, hand, known_failures, names
from targets import SINGLE
from tensorwright import backend
from tensorwright.backend import TensorwrightRep
from tensorwright.runtime import calls, fixed_calls
from tensorwright.runtime.arrays import Array, OutputMemory, output_maker

POISON = 0xA7
TIMES = 3
HANDS = 40
DEALT = 4


@dataclass(frozen=True)
class Configuration:
    level: int = 0
    threads: int = 2
    instruction_set: str | None = None

    def __str__(self) -> str:
        return f"level{self.level}-{self.threads}threads-{self.instruction_set or 'host'}"


STANDARD = Configuration()
OTHERS = (
    Configuration(threads=1),
    Configuration(threads=3),
    *(Configuration(instruction_set=name) for name in SINGLE[1:]),
    Configuration(level=3),
)


class Quiet(tw.ILogger):
    """Staged builds warn, as they should."""

    def log(self, severity: object, msg: str) -> None:
        pass


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "number" not in metafunc.fixturenames:
        return
    config = metafunc.config
    if config.getoption("--conformance"):
        found = [(c, number) for c in (STANDARD, *OTHERS) for number in range(HANDS)]
    else:
        first = config.getoption("--seed") * DEALT
        found = [(STANDARD, (first + number) % HANDS) for number in range(DEALT)]
    metafunc.parametrize(("configuration", "number"), found, ids=[f"{c}-{number}" for c, number in found])


@pytest.fixture(autouse=True)
def _poisoned_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (calls, fixed_calls):
        monkeypatch.setattr(module, "output_maker", _poisoned_maker)


def test_node_cases(configuration: Configuration, number: int) -> None:
    _check("node", hand("node", number, HANDS), configuration)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_models(kind: str) -> None:
    _check(kind, hand(kind, 0, 1), STANDARD)


@pytest.mark.parametrize("kind", KINDS)
def test_known_failures_exist(kind: str) -> None:
    assert set(known_failures(kind)) <= names(kind)


def test_nearly_all_node_cases_pass() -> None:
    assert len(names("node")) > 1800
    assert len(known_failures("node")) <= 0.015 * len(names("node"))


def _check(kind: str, cases: Iterable[Case], configuration: Configuration) -> None:
    wrong = []
    for case in cases:
        found, expected = _failure(case, configuration), known_failures(kind).get(case.name)
        if found is None and expected is not None:
            wrong.append(f"{case.name} passes: take it out of known_failures.toml")
        if found is not None and expected is None:
            wrong.append(f"{case.name}: {found}")
    assert not wrong, "\n".join(wrong)


def _failure(case: Case, configuration: Configuration) -> str | None:
    """What goes wrong with a case; None if it passes."""
    try:
        prepared = backend.prepare(
            case.model,
            level=configuration.level,
            threads=configuration.threads,
            instruction_set=configuration.instruction_set,
            timing_cache="",
            logger=Quiet(),
        )
        with prepared.engine:
            for inputs, outputs in case.data:
                for _ in range(TIMES):
                    case.compare(list(prepared.run(inputs)), outputs)
                    _poison_memory(prepared)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the case's result
        return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
    return None


def _poison_memory(prepared: TensorwrightRep) -> None:
    """Overwrite what the last run left behind."""
    engine = prepared.engine
    for native in engine.engines if isinstance(engine, tw.StagedEngine) else (engine,):
        if native._default is not None and native.device_memory_size:
            ctypes.memset(native._default.device_memory, POISON, native.device_memory_size)


def _poisoned_maker(
    shape: tuple[int, ...], dtype: np.dtype[np.generic], memory: OutputMemory
) -> Callable[[], tuple[Array, int]]:
    make = output_maker(shape, dtype, memory)

    def make_poisoned() -> tuple[Array, int]:
        array, address = make()
        ctypes.memset(address, POISON, array.nbytes)
        return array, address

    return make_poisoned

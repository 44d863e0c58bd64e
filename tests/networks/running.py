"""Builds a network in some configuration and runs it in poisoned memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from networks.choices import Choices, chance, choose
from networks.memory import POISONS, Guarded
from networks.toolchain import NORMAL, SwitchedBackend, Switches
from networks.turns import Turns
from tensorwright.backends.cpu import CpuBackend
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.devices.cpu.host import best_instruction_set
from tensorwright.graph.graph import Graph
from tensorwright.passes.pipeline import optimise
from tensorwright.runtime.bindings import bare_symbol
from tensorwright.runtime.context import ExecutionContext
from tensorwright.runtime.engine import Engine

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
INSTRUCTION_SETS = ("avx512", "avx2", "baseline")


@dataclass(frozen=True)
class Configuration:
    """How a network is built."""

    level: int = 0
    threads: int = 2
    instruction_set: str | None = None
    rewrite: bool = True
    fuse: bool = True
    fast_algorithms: bool = True
    exclude_tactics: frozenset[str] = frozenset()
    check_plan: bool = False
    switches: Switches = NORMAL

    def __str__(self) -> str:
        changed = {name: value for name, value in vars(self).items() if value != getattr(MAIN, name)}
        return ", ".join(f"{name}={value}" for name, value in changed.items()) or "as by default, level 0, 2 threads"

    def options(self) -> BuildConfig:
        return BuildConfig(
            level=self.level,
            threads=self.threads,
            timing_cache="",
            instruction_set=self.instruction_set,
            optimise=self.fuse,
            max_rewrites=None if self.rewrite else 0,
            fast_algorithms=self.fast_algorithms,
            exclude_tactics=self.exclude_tactics,
            check_plan=self.check_plan,
        )


MAIN = Configuration()
INDISPENSABLE = {"selection"}
"""Tactics that alone compute an operator."""


def deal(choices: Choices, *, tuned: int = 12) -> Configuration:
    """A configuration, the usual one more often than not. tuned: percent of builds at a level above 0."""
    switches = Switches(
        layouts=not chance(choices, 6),
        in_place=not chance(choices, 6),
        freedom=not chance(choices, 6),
        times="chance" if chance(choices, 40) else "real",
        seed=choices.integer(0, 1 << 20),
        optimised=not chance(choices, 60),
    )
    level = choose(choices, (1, 1, 1, 3)) if chance(choices, tuned) else 0
    return Configuration(
        level=level,
        threads=choose(choices, (2, 2, 2, 3, 3, 1)),
        instruction_set=choose(choices, available_instruction_sets()) if chance(choices, 15) else None,
        rewrite=not chance(choices, 8),
        fuse=not chance(choices, 8),
        fast_algorithms=not chance(choices, 10),
        exclude_tactics=_excluded(choices),
        check_plan=chance(choices, 60),
        switches=replace(switches, times="chance") if level == 1 else switches,
    )


def _excluded(choices: Choices) -> frozenset[str]:
    if not chance(choices, 8):
        return frozenset()
    offers = CpuBackend().toolchain(None, 1, None).offers
    names = sorted({offer.name for offer in offers if not offer.general})
    return frozenset(name for name in names if chance(choices, 50)) - INDISPENSABLE


def available_instruction_sets() -> tuple[str, ...]:
    best = best_instruction_set()
    return INSTRUCTION_SETS[INSTRUCTION_SETS.index(best) :] if best in INSTRUCTION_SETS else (best,)


class Running:
    """A network that was built, ready to run. Use it as a context manager."""

    def __init__(self, graph: Graph, configuration: Configuration) -> None:
        backend = SwitchedBackend(configuration.switches)
        warnings: list[str] = []
        options = replace(configuration.options(), log=lambda severity, message: _heard(warnings, severity, message))
        if configuration.rewrite and not configuration.fuse:
            graph = optimise(graph)
        self._engine = Engine(build(graph, options, backend))
        assert not warnings, warnings[0]
        self._turns = Turns(backend.built[0])
        self._context = self._engine.create_execution_context_without_device_memory()
        self._arena = Guarded(self._engine.device_memory_size, self._engine.device_memory_alignment)
        self._context.device_memory = self._arena.address
        self._runs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()
        self._engine.close()

    def run(self, inputs: Arrays, outputs: Arrays) -> dict[str, Array]:
        """The outputs, in memory that was poisoned; `outputs` says their shapes.

        Raises:
            AssertionError: something was written outside of the outputs and the arena.
        """
        poison = POISONS[self._runs % len(POISONS)]
        self._runs += 1
        for name, array in inputs.items():
            self._context.set_input_shape(name, array.shape)
        arrays = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        places = {b.name: Guarded(_size(b.type.dtype.numpy, outputs[b.name]), 64) for b in _outputs(self._engine)}
        for place in (self._arena, *places.values()):
            place.fill(poison)
        self._execute(self._context, arrays, places)
        for name, place in {"the arena": self._arena, **places}.items():
            assert place.is_intact(poison), f"something was written outside of {name}"
        return {
            b.name: places[b.name].bytes.view(b.type.dtype.numpy).reshape(outputs[b.name].shape)
            for b in _outputs(self._engine)
        }

    def run_in_turns(self, inputs: Arrays, outputs: Arrays, threads: int, *, backwards: bool) -> dict[str, Array]:
        """The same, computed by threads that never run at the same time; see `networks.turns`."""
        known = self._engine.bindings
        symbols = dict[str, int]()
        for binding in known:
            if binding.mode == "input":
                for dim, extent in zip(binding.type.shape, inputs[binding.name].shape, strict=True):
                    symbol = bare_symbol(dim)
                    if symbol is not None:
                        symbols[symbol.name] = extent
        order = range(threads)[::-1] if backwards else range(threads)
        self._runs += 1
        return self._turns.run(inputs, outputs, symbols, order, POISONS[self._runs % len(POISONS)])

    def _execute(self, context: ExecutionContext, arrays: Arrays, places: Mapping[str, Guarded]) -> None:
        copies = {name: Guarded(array.nbytes, 64) for name, array in arrays.items()}
        for name, copy in copies.items():
            copy.bytes[:] = arrays[name].reshape(-1).view(np.uint8)
        addresses = [(copies.get(name) or places[name]).address for name in self._engine]
        context.execute(None, addresses)
        for name, copy in copies.items():
            assert np.array_equal(copy.bytes, arrays[name].reshape(-1).view(np.uint8)), f"input {name} was written"


def _heard(warnings: list[str], severity: str, message: str) -> None:
    """Note what is said of kernels that were found wrong and left out."""
    if severity == "warning" and "wrong results" in message:
        warnings.append(message)


def _size(dtype: np.dtype[np.generic], array: Array) -> int:
    return array.size * dtype.itemsize


def _outputs(engine: Engine) -> Sequence[object]:
    return [binding for binding in engine.bindings if binding.mode == "output"]

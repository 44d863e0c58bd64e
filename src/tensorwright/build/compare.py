"""How far a network that computes in a narrower type is from float32, layer by layer, on sample inputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, log10, sqrt

import numpy as np
import numpy.typing as npt

from tensorwright.base.cancellation import WatchedProgress
from tensorwright.base.errors import BuildError
from tensorwright.base.text import unused_name
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.passes.switches import Switched
from tensorwright.runtime.engine import Engine

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
Switches = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LayerError:
    """What a layer gives in a network that is narrow throughout, and what it brings about alone.

    name: of the operators that one kernel computes, or of a product. operators: one by one.
    signal_to_noise: of its result, in dB: ``10 · log10(Σ exact² / Σ (narrow − exact)²)``.
    max_error: the largest difference of an element. overflows, nans: elements that became infinite, or not a number.
    alone: the error of the network's outputs, as in `Comparison`, if this layer alone is narrow.
    """

    name: str
    operators: tuple[str, ...]
    signal_to_noise: float
    max_error: float
    overflows: int
    nans: int
    alone: float


@dataclass(frozen=True)
class Comparison:
    """A network in a narrower type beside itself in float32.

    Errors are relative: the root of ``Σ (narrow − exact)² / Σ exact²`` over all elements of an output in all batches;
    the largest of all outputs. Where elements became infinite or not a number the error is infinite. Outputs of
    integers count the share of elements that differ, the root of it.

    precision: the type. layers: in the order of the network. error: with all layers narrow.
    kept: the layers that have to stay in float32 for a bound, the worst first; kept_error: the error with these.
    """

    precision: str
    layers: tuple[LayerError, ...]
    error: float
    kept: tuple[LayerError, ...] = ()
    kept_error: float | None = None

    @property
    def ranked(self) -> tuple[LayerError, ...]:
        """The layers, those first that bring about the largest errors alone."""
        return tuple(sorted(self.layers, key=lambda layer: -layer.alone))

    @property
    def layer_precision(self) -> dict[str, str]:
        """The option of `tensorwright.build` that keeps the layers of `kept` in float32."""
        names = [part for layer in self.kept for name in layer.operators for part in name.split(" + ")]
        return {_literal(name): "fp32" for name in names}


def compare(
    switched: Switched, batches: Iterable[Arrays], precision: str, config: BuildConfig, max_error: float | None = None
) -> Comparison:
    """Run a network on batches: exactly, narrow, and with each of its layers narrow alone.

    Args:
        switched: the network.
        batches: arrays by the names of its inputs.
        precision: what the type is called.
        config: how it is built; at level 0, without timing.
        max_error: the bound that `kept` is for; None to keep nothing.

    Raises:
        BuildError: there are no batches, or nothing can be narrow.
    """
    count = len(switched.layers)
    if not count:
        raise BuildError(f"compare: nothing in the network can be computed in {precision}")
    given = list(batches)
    if not given:
        raise BuildError("compare: there are no samples; give at least one")
    progress = WatchedProgress(config.progress, config.cancellation, config.max_seconds)
    found = _layer_distances(switched, given, config)
    with Engine(build(switched.graph, replace(config, level=0, timing_cache=""))) as engine:
        runner = _Runner(engine, switched.switches, given)
        progress.phase("each layer alone", count)
        alone = []
        for number in range(count):
            alone.append(runner.error(np.arange(count) == number))
            progress.step(" + ".join(switched.names[number]))
        layers = tuple(
            LayerError(" + ".join(dict.fromkeys(names)), names, *distance.figures, error)
            for names, distance, error in zip(switched.names, found, alone, strict=True)
        )
        made = Comparison(precision, layers, runner.error(np.ones(count, np.bool_)))
        return made if max_error is None else _bounded(made, runner, max_error)


def _bounded(made: Comparison, runner: _Runner, bound: float) -> Comparison:
    """The comparison with the fewest of its worst layers kept in float32 that bring the error below a bound."""
    order = sorted(range(len(made.layers)), key=lambda number: -made.layers[number].alone)

    def error(kept: int) -> float:
        switches = np.ones(len(order), np.bool_)
        switches[order[:kept]] = False
        return runner.error(switches)

    low, high, best = 0, len(order), 0.0
    if made.error <= bound:
        return replace(made, kept_error=made.error)
    while high - low > 1:
        middle = (low + high) // 2
        found = error(middle)
        if found <= bound:
            high, best = middle, found
        else:
            low = middle
    return replace(made, kept=tuple(made.layers[number] for number in order[:high]), kept_error=best)


@dataclass
class Distance:
    """How far results are from exact ones, over several batches."""

    signal: float = 0.0
    noise: float = 0.0
    largest: float = 0.0
    overflows: int = 0
    nans: int = 0

    def add(self, exact: Array, found: Array) -> None:
        """Elements of the same tensor. Where the exact ones are not finite nothing counts."""
        if exact.dtype.kind in "biu":
            self.signal += exact.size
            self.noise += float(np.count_nonzero(exact != found))
            return
        one, other = exact.astype(np.float64), found.astype(np.float64)
        usable = np.isfinite(one)
        self.nans += int(np.count_nonzero(usable & np.isnan(other)))
        self.overflows += int(np.count_nonzero(usable & np.isinf(other)))
        usable &= np.isfinite(other)
        differences = np.abs(np.where(usable, other, 0) - np.where(usable, one, 0))
        self.signal += float(np.sum(np.square(np.where(usable, one, 0))))
        self.noise += float(np.sum(np.square(differences)))
        self.largest = max(self.largest, float(differences.max(initial=0.0)))

    @property
    def relative(self) -> float:
        """The relative error; infinite where elements are not finite."""
        if self.nans or self.overflows:
            return inf
        return sqrt(self.noise / self.signal) if self.signal else (inf if self.noise else 0.0)

    @property
    def figures(self) -> tuple[float, float, int, int]:
        """Signal to noise in dB, the largest difference, how many became infinite, and not a number."""
        decibels = inf if not self.noise else 10 * log10(self.signal / self.noise) if self.signal else -inf
        return decibels, self.largest, self.overflows, self.nans


@dataclass
class _Runner:
    """Runs a network with switches on all batches, beside itself with all of them off."""

    engine: Engine
    switches: str
    batches: Sequence[Arrays]
    exact: list[Arrays] = field(default_factory=list)

    def __post_init__(self) -> None:
        (length,) = self.engine.get_binding_shape(self.switches)
        off = np.zeros(int(length), np.bool_)
        self.exact = [self.engine({**batch, self.switches: off}) for batch in self.batches]

    def error(self, switches: Switches) -> float:
        """The error of the outputs with some layers narrow."""
        distances = {name: Distance() for name in self.exact[0]}
        for batch, exact in zip(self.batches, self.exact, strict=True):
            for name, found in self.engine({**batch, self.switches: switches}).items():
                distances[name].add(exact[name], found)
        return max(distance.relative for distance in distances.values())


def _layer_distances(switched: Switched, batches: Sequence[Arrays], config: BuildConfig) -> list[Distance]:
    """How far the results of all layers are from exact ones if all are narrow."""
    taken = [name for name, _ in switched.graph.inputs]
    names: list[str] = []
    for _ in switched.results:
        names.append(unused_name(f"layer {len(names)}", taken))
    outputs = tuple(zip(names, switched.results, strict=True))
    plan = build(replace(switched.graph, outputs=outputs), replace(config, level=0, timing_cache=""))
    found = [Distance() for _ in names]
    with Engine(plan) as engine:
        for batch in batches:
            exact, narrow = (
                engine({**batch, switched.switches: np.full(len(names), state)}) for state in (False, True)
            )
            for name, distance in zip(names, found, strict=True):
                distance.add(exact[name], narrow[name])
    return found


def _literal(name: str) -> str:
    """A pattern that a name alone fits."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)

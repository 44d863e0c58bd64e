"""Calibration: the ranges that tensors have on sample inputs, for computing with 8-bit integers.

The network runs in float32 on batches of a user, with every tensor as an output. From the magnitudes of a tensor's
elements a threshold is found: what is larger will be clipped. One 8-bit step is the threshold divided by 127.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from tensorwright.base.cancellation import WatchedProgress
from tensorwright.base.errors import BuildError, FileError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.build.tools import toolchain_for
from tensorwright.graph.graph import Graph
from tensorwright.plan.plan import Json
from tensorwright.runtime.bindings import bare_symbol
from tensorwright.runtime.engine import Engine
from tensorwright.tensor.dim import evaluate
from tensorwright.tensor.range import Range
from tensorwright.tensor.type import TensorType

Algorithm = Literal["LegacyCalibration", "EntropyCalibration", "EntropyCalibration2", "MinMaxCalibration"]
Array = npt.NDArray[np.generic]
Counts = npt.NDArray[np.int64]
Extents = tuple[int, ...]

BINS = 2048
LEVELS = 128
STEPS = 127
SAME_LOSS = 1e-12
HEADER = "TRT-8000"
LOWEST, HIGHEST = " (lowest)", " (highest)"
SHOWN = 5


class Calibrator(Protocol):
    """Gives the batches of a calibration, and keeps its result."""

    @property
    def calibration_name(self) -> Algorithm:
        """How thresholds are found."""
        ...

    @property
    def quantile(self) -> float:
        """For LegacyCalibration: the share of elements that lie below the threshold."""
        ...

    def samples_per_batch(self) -> int:
        """The first extent of every batch; 0 if nothing is known of it."""
        ...

    def expected_batches(self) -> int:
        """How many batches there are, at most; 0 if nobody knows. For progress bars."""
        ...

    def next_batch(self, inputs: Mapping[str, tuple[Extents, np.dtype[np.generic]]]) -> Mapping[str, Array] | None:
        """An array for each input, of the given shape and element type; None at the end."""
        ...

    def read_cache(self) -> bytes | None:
        """What an earlier calibration wrote; None for nothing."""
        ...

    def write_cache(self, data: bytes) -> None:
        """Keep the result."""
        ...


@dataclass(frozen=True)
class Calibration:
    """The threshold of every tensor by name, where they come from, and the tensors that a cache does not know.

    algorithm: that of the calibrator; "DynamicRanges" where the user gave all thresholds. lowest, highest: the smallest
        and the largest element of every tensor of which they are known.
    """

    algorithm: str
    ranges: Mapping[str, float]
    batches: int = 0
    missing: tuple[str, ...] = ()
    lowest: Mapping[str, float] = field(default_factory=dict)
    highest: Mapping[str, float] = field(default_factory=dict)

    def range_of(self, name: str) -> Range:
        """What counts of a tensor: up to the threshold on either side, where there are such elements."""
        largest = self.ranges[name]
        return Range(max(self.lowest.get(name, -largest), -largest), min(self.highest.get(name, largest), largest))

    def report(self) -> dict[str, Json]:
        """For the report of a plan. `batches` is 0 where the ranges come from a cache."""
        return {
            "algorithm": self.algorithm,
            "batches": self.batches,
            "ranges": dict(self.ranges),
            "missing": list(self.missing),
        }

    def text(self) -> bytes:
        """TensorRT's calibration cache: a header, then for each tensor the bits of its 8-bit step in hexadecimal.

        Behind them stand lines of the same form for the smallest and the largest elements, under names of their own.
        """
        known = dict(self.ranges)
        for name in self.ranges:
            if name in self.lowest:
                known[name + LOWEST], known[name + HIGHEST] = -self.lowest[name], self.highest[name]
        lines = [f"{HEADER}-{self.algorithm}"]
        lines += [f"{name}: {struct.pack('>f', value / STEPS).hex()}" for name, value in known.items()]
        return ("\n".join(lines) + "\n").encode()


def calibrate(graph: Graph, calibrator: Calibrator, config: BuildConfig) -> Calibration:
    """The ranges of the inputs and outputs of a graph, from the calibrator's cache or else from its batches.

    Args:
        graph: has every tensor of interest as an output.
        calibrator: gives batches until it has no more.
        config: how the network is built to be measured; tuning effort and timing cache are left out.

    Raises:
        BuildError: there are no batches, or they do not fit.
    """
    floats = [name for name, value in (*graph.inputs, *graph.outputs) if value.type.dtype.is_float]
    found = _cached(calibrator, floats, config.log)
    if found is not None:
        return found
    histograms = {name: Histogram() for name in floats}

    def see(name: str, array: Array) -> None:
        if name in histograms and not histograms[name].add(array):
            config.log("warning", f"calibration: tensor '{name}' has elements that are not finite; left out")

    batches = observe(graph, calibrator, config, see)
    name, quantile = calibrator.calibration_name, calibrator.quantile
    ranges = {tensor: histogram.threshold(name, quantile) for tensor, histogram in histograms.items()}
    ends = [{tensor: getattr(one, end) for tensor, one in histograms.items()} for end in ("lowest", "highest")]
    result = Calibration(name, ranges, batches, lowest=ends[0], highest=ends[1])
    try:
        calibrator.write_cache(result.text())
    except (OSError, FileError) as error:
        config.log("warning", f"calibration cache: it cannot be written, later builds calibrate again: {error}")
    return result


def observe(graph: Graph, calibrator: Calibrator, config: BuildConfig, see: Callable[[str, Array], None]) -> int:
    """Show the inputs and outputs of a graph, for each of a calibrator's batches; how many there were. If this machine
    lacks the target, it is computed with what the machine has.

    see: called with name and elements.

    Raises:
        BuildError: there are no batches, or they do not fit.
    """
    own = replace(config, level=0, timing_cache="", batch_symbol=None)
    if toolchain_for(own).bench.lacking:
        own = replace(own, target=None, instruction_set=None)
    engine = Engine(build(graph, own), config.allocator)
    batches = 0
    progress = WatchedProgress(config.progress, config.cancellation, config.max_seconds)
    progress.phase("measuring ranges", calibrator.expected_batches())
    with engine:
        for arrays in batches_of(graph, calibrator, config.log):
            for name, array in {**engine(arrays), **arrays}.items():
                see(name, array)
            batches += 1
            progress.step(f"batch {batches}")
    if not batches:
        raise BuildError("calibration: the calibrator gave no batch; give at least one, or a cache")
    return batches


def batches_of(graph: Graph, calibrator: Calibrator, log: Callable[[str, str], None]) -> Iterator[dict[str, Array]]:
    """The batches of a calibrator, as the inputs of a graph take them.

    Raises:
        BuildError: one does not fit.
    """
    shapes = input_shapes(graph, calibrator.samples_per_batch(), log)
    number = 0
    while (given := calibrator.next_batch(shapes)) is not None:
        yield {name: _checked(name, given, value.type, shapes[name][0], number) for name, value in graph.inputs}
        number += 1


def input_shapes(
    graph: Graph, batch: int, log: Callable[[str, str], None]
) -> dict[str, tuple[Extents, np.dtype[np.generic]]]:
    """The shapes and element types of a calibration's inputs: the batch, other unknown dimensions as tuned for.

    Raises:
        BuildError: the network does not accept such a batch.
    """
    found = {}
    for name, value in graph.inputs:
        type = value.type
        environment = {symbol.name: symbol.opt for symbol in graph.symbols()}
        leading = bare_symbol(type.shape[0]) if type.shape else None
        if leading is not None and batch:
            if not leading.min <= batch <= leading.max:
                raise BuildError(
                    f"calibration: batches of {batch} were announced, input '{name}' takes {leading.min} to "
                    f"{leading.max}; say another batch size, or another range in an optimization profile"
                )
            environment[leading.name] = batch
        elif leading is None and batch and type.shape and type.shape[0] != batch:
            message = (
                f"calibration: batches of {batch} were announced, but the first dimension of input '{name}' is fixed "
                f"to {type.shape[0]}: that many are read"
            )
            log("warning", message)
        found[name] = (_extents(type, environment), type.dtype.numpy)
    return found


def read_text(data: bytes) -> tuple[str, dict[str, float]]:
    """The algorithm (empty if it is not said) and the ranges in a calibration cache.

    Raises:
        BuildError: it is none; the message names the line.
    """
    lines = data.decode(errors="replace").split("\n")
    header, ranges = lines[0].strip(), dict[str, float]()
    for number, line in enumerate(lines[1:], 2):
        name, separator, bits = line.rstrip("\r\0 ").rpartition(": ")
        if not line.strip("\r\0 "):
            continue
        try:
            (step,) = struct.unpack(">f", bytes.fromhex(bits))
        except (ValueError, struct.error):
            separator = ""
            step = 0.0
        if not separator or not 0 <= step < np.inf:
            raise BuildError(f"calibration cache, line {number}: expected 'name: bits', found {line[:80]!r}")
        ranges[name] = step * STEPS
    prefix, _, algorithm = header.rpartition("-")
    if not ranges or (": " in header and not prefix):
        raise BuildError(f"calibration cache: expected a header and lines 'name: bits', found {header[:80]!r}")
    return (algorithm if prefix else ""), ranges


class Histogram:
    """How often magnitudes occur, in `BINS` bins from 0 on; the bins become wider when larger ones come."""

    def __init__(self) -> None:
        self.counts: Counts = np.zeros(BINS, np.int64)
        self.limit = 0.0
        self.lowest = self.highest = 0.0

    @property
    def largest(self) -> float:
        """The largest magnitude."""
        return max(-self.lowest, self.highest)

    def add(self, array: Array) -> bool:
        """Count the elements of an array. False if some are not finite, which are left out."""
        wide = array.astype(np.float64, copy=False).reshape(-1)
        finite = np.isfinite(wide)
        wide = wide[finite]
        self.lowest, self.highest = float(wide.min(initial=self.lowest)), float(wide.max(initial=self.highest))
        values = np.abs(wide)
        largest = float(values.max(initial=0.0))
        if largest > self.limit:
            self._widen(largest)
        if self.limit:
            places = np.minimum((values * (BINS / self.limit)).astype(np.int64), BINS - 1)
            self.counts += np.bincount(places, minlength=BINS)
        else:
            self.counts[0] += values.size
        return bool(finite.all())

    def threshold(self, algorithm: Algorithm, quantile: float) -> float:
        """Where to clip; see `entropy_threshold` and `quantile_threshold`. Never more than the largest magnitude."""
        if not self.largest or algorithm == "MinMaxCalibration":
            return self.largest
        width = self.limit / BINS
        if algorithm == "LegacyCalibration":
            return min(self.largest, quantile_threshold(self.counts, quantile) * width)
        return min(self.largest, entropy_threshold(self.counts) * width)

    def _widen(self, largest: float) -> None:
        if not self.limit:
            self.limit = largest
            return
        factor = 2
        while self.limit * factor < largest:
            factor *= 2
        merged = np.zeros(BINS, np.int64)
        whole = min(factor, BINS)
        merged[: BINS // whole] = self.counts.reshape(-1, whole).sum(1)
        self.counts, self.limit = merged, self.limit * factor


def quantile_threshold(counts: Counts, quantile: float) -> float:
    """The bin edge below which a share `quantile` of all elements lies."""
    return float(np.searchsorted(np.cumsum(counts), quantile * counts.sum()) + 1)


def entropy_threshold(counts: Counts) -> float:
    """The bin, at its middle, to clip at so that 128 levels lose the least information.

    For every i from 128 to 2048: P is the first i bins, with all larger elements in the last one; Q is the first i bins
    without them, merged into 128 levels and spread evenly over those bins of each level where P is not zero. The i with
    the smallest divergence Σ P log(P / Q) is taken (S. Migacz, "8-bit inference with TensorRT", GTC 2017). The first
    bin counts like the second: exact zeros, of which activations and images have many, are not what clipping can harm.
    Of several that lose as little the largest is taken: clipped to one value, elements lose nothing by this measure.
    """
    counts = np.concatenate([counts[1:2], counts[1:]])
    firsts = np.arange(LEVELS, BINS + 1)
    sums = np.concatenate([[0], np.cumsum(counts)]).astype(np.float64)
    filled = np.concatenate([[0], np.cumsum(counts > 0)])
    edges = firsts[:, None] * np.arange(LEVELS + 1) // LEVELS
    level_sums = sums[edges[:, 1:]] - sums[edges[:, :-1]]
    level_bins = (filled[edges[:, 1:]] - filled[edges[:, :-1]]).astype(np.float64)
    total, kept = sums[-1], sums[firsts]
    beyond, last = total - kept, counts[firsts - 1].astype(np.float64)
    level_bins[:, -1] += (last == 0) & (beyond > 0)
    masses = level_sums.copy()
    masses[:, -1] += beyond
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(level_sums / level_bins)
        cross = np.where(masses > 0, masses * logs, 0).sum(1)
        own = np.concatenate([[0], np.cumsum(_x_log_x(counts.astype(np.float64)))])[firsts - 1] + _x_log_x(
            last + beyond
        )
        divergence = (own - cross) / total - np.log(total) + np.log(kept)
    divergence[~np.isfinite(divergence)] = np.inf
    least = np.flatnonzero(divergence <= divergence.min() + SAME_LOSS)
    return float(firsts[least[-1]]) + 0.5


def _x_log_x(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return x * np.log(np.where(x > 0, x, 1))


def _extents(type: TensorType, environment: Mapping[str, int]) -> Extents:
    return tuple(evaluate(dim, environment) for dim in type.shape)


def _checked(name: str, given: Mapping[str, Array], type: TensorType, shape: Extents, number: int) -> Array:
    """The array of an input; dimensions that are not fixed may differ from batch to batch."""
    if name not in given:
        raise BuildError(f"calibration: batch {number} has no array for input '{name}'")
    array = np.asarray(given[name])
    fits = array.ndim == type.rank and all(
        dim == extent if isinstance(dim, int) else extent > 0
        for dim, extent in zip(type.shape, array.shape, strict=True)
    )
    if not fits:
        raise BuildError(
            f"calibration: batch {number}, input '{name}': expected an array of shape {shape}, found {array.shape}"
        )
    return np.ascontiguousarray(array)


def _read_cache(calibrator: Calibrator, log: Callable[[str, str], None]) -> bytes | None:
    try:
        return calibrator.read_cache()
    except (OSError, FileError) as error:
        log("warning", f"calibration cache: it cannot be read and is not used: {error}")
        return None


def _cached(calibrator: Calibrator, tensors: Sequence[str], log: Callable[[str, str], None]) -> Calibration | None:
    """What the cache knows; None where there is none that is of use, which is logged."""
    data = _read_cache(calibrator, log)
    if not data:
        return None
    wanted = calibrator.calibration_name
    try:
        algorithm, known = read_text(bytes(data))
    except BuildError as error:
        log("warning", f"{error}; the cache is not used")
        return None
    ranges = {name: known[name] for name in tensors if name in known}
    if algorithm not in ("", wanted):
        log("warning", f"calibration cache: made by {algorithm}, {wanted} is asked for; the cache is not used")
        return None
    if not ranges:
        log("warning", "calibration cache: it knows none of the network's tensors; the cache is not used")
        return None
    missing = tuple(name for name in tensors if name not in known)
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
        log("warning", f"calibration cache: {len(missing)} of {len(tensors)} tensors are missing in it: {shown}")
    lowest = {name: -known[name + LOWEST] for name in ranges if name + LOWEST in known}
    highest = {name: known[name + HIGHEST] for name in ranges if name + HIGHEST in known}
    return Calibration(wanted, ranges, 0, missing, lowest, highest)

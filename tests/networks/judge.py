"""What a network must compute: in float64, with bounds of the error that rounding may cause, and by ONNX Runtime.

How much rounding matters is not derived but tried: the network is computed again with every result of an operator that
rounds moved by up to a unit of its type's precision, up or down at random (for operators that sum, every operand too),
and once with results rounded to their types.
The largest change of an output, times a factor, is the error that is allowed anywhere in it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
import numpy.typing as npt

from networks.network import Network
from tensorwright.graph.graph import ConstantTensor, Graph, Input, Value
from tensorwright.importers.onnx import import_onnx
from tensorwright.ops.activation import Clip, Elu, Gelu, HardSigmoid, HardSwish, Relu, Selu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary, Cast, Identity, Select, Unary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LogSoftmax, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.resize import Resize
from tensorwright.tensor.dim import linear_part
from tensorwright.tensor.dtype import DType

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]

Further = Callable[[Value, Sequence[Array], Array], Array]

PRECISION = {"float16": 2.0**-11, "bfloat16": 2.0**-8, "float32": 2.0**-23, "float64": 2.0**-45}
"""Rounding errors of results. Functions of float64 are computed by polynomials that are a little less precise."""

FAST_PRECISION = 1e-6
"""Rounding error of products by algorithms that need fewer operations, relative to the largest element."""

LONG = 256
"""Terms of a sum from which on their order matters more than their own precision."""

EXACT_FUNCTIONS = {"max", "min", "neg", "abs", "floor", "ceil", "round", "trunc", "sign"}
FACTOR = 24.0
UNITS = 24.0
"""Allowed besides: so many units of the output's own precision."""


def graph_of(network: Network) -> Graph:
    """The network as the project imports it."""
    return import_onnx(network.model(), shapes=network.shapes)


@dataclass(frozen=True)
class Noise:
    """Moves results by a unit of precision.

    further: how much more the result of an operator may be off, from its operands and result. rounds_anywhere: moves
    also what exact operators give in types below float32, as if the results of those before them had not been rounded.
    units: how far. whole: whether by all of it or not at all, so that much stays alike.
    """

    rng: np.random.Generator
    further: Further | None = None
    rounds_anywhere: bool = False
    units: float = 1.0
    whole: bool = False

    def moved(self, array: Array, precision: float) -> Array:
        return np.asarray(array * (1.0 + precision * self._directions(array)))

    def result(self, value: Value, operands: Sequence[Array], array: Array) -> Array:
        precision = PRECISION[value.type.dtype.name]
        moved = self.moved(array, precision)
        if isinstance(value.op, HardSigmoid | HardSwish | Elu | Selu | Gelu):  # The terms that they add up cancel.
            factor = np.abs(operands[0]) if isinstance(value.op, HardSwish | Gelu) else np.ones(array.shape)
            if isinstance(value.op, Gelu):  # By a unit of 1, in its tail alone.
                factor = factor / FACTOR
            moved = moved + precision * factor * self._directions(array)
        moved = moved + precision * long_sum(value, operands, array) * self._directions(array)
        if isinstance(value.op, Convolution | MatMul) and array.size:
            largest = float(np.abs(array).max()) * FAST_PRECISION
            moved = moved + largest * self._directions(array)
        if self.further is not None:
            moved = moved + self.further(value, operands, array) * self._directions(array)
        return moved

    def _directions(self, array: Array) -> npt.NDArray[np.float64]:
        """Up or down, by different parts of a unit, so that two moves do not cancel."""
        if self.whole:
            return self.rng.integers(-1, 2, array.shape) * self.units
        return (self.rng.integers(0, 2, array.shape) * 2.0 - 1.0) * self.rng.uniform(0.5, 1.0, array.shape) * self.units


@dataclass(frozen=True)
class Rounding:
    """Rounds results to their types: a small number that is added to a large one is lost, which no `Noise` shows."""

    def moved(self, array: Array, precision: float) -> Array:
        return array

    def result(self, value: Value, operands: Sequence[Array], array: Array) -> Array:
        return _wide(array.astype(value.type.dtype.numpy))


def long_sum(value: Value, operands: Sequence[Array], array: Array) -> Array:
    """By how many units of precision sums of many terms are off that are added up in order."""
    terms = operands[0].size / max(1, array.size) if operands else 1
    if isinstance(value.op, Softmax | LogSoftmax):
        terms = operands[0].shape[value.op.axis]
    if terms <= LONG:
        return np.zeros(array.shape)
    match value.op:
        case Reduction(function) if function in ("add", "mean"):
            return np.sqrt(terms) / 2 * np.asarray(value.op.reference(np.abs(operands[0])), np.float64)
        case Reduction("l1" | "l2" | "sum_square"):
            return np.sqrt(terms) / 2 * np.abs(array)
        case Reduction("log_sum_exp"):
            return np.full(array.shape, np.sqrt(terms) / 2)
        case Softmax():
            return np.sqrt(terms) / 2 * np.abs(array)
        case LogSoftmax():
            return np.full(array.shape, np.sqrt(terms) / 2)
    return np.zeros(array.shape)


def computed(graph: Graph, inputs: Arrays, noise: Noise | Rounding | None = None) -> dict[str, Array]:
    """The outputs of a graph, all floats in float64 and never rounded to narrower types."""
    symbols = _symbols(graph, inputs)
    given = dict(graph.inputs)
    results = {value: _wide(inputs[name]) for name, value in given.items()}
    for value in graph.order():
        if isinstance(value.op, Input):
            continue
        if isinstance(value.op, ConstantTensor):
            results[value] = _wide(value.op.weights.array)
            continue
        operands = [results[operand] for operand in value.inputs]
        anywhere = isinstance(noise, Noise) and noise.rounds_anywhere and value.type.dtype.size < 4
        rounds = not is_exact(value) or anywhere
        is_noisy = noise is not None and value.type.dtype.is_float and rounds
        if (
            noise is not None
            and is_noisy
            and (value.op.kind in ("anchor", "reduction") or isinstance(value.op, Resize))
        ):
            operands = [
                noise.moved(array, PRECISION[operand.type.dtype.name]) if operand.type.dtype.is_float else array
                for array, operand in zip(operands, value.inputs, strict=True)
            ]
        with np.errstate(all="ignore"):
            array = np.asarray(value.op.specialised(symbols).reference(*operands))
        array = _wide(array) if value.type.dtype.is_float else array.astype(value.type.dtype.numpy, copy=False)
        results[value] = noise.result(value, operands, array) if noise is not None and is_noisy else array
    return {name: results[value] for name, value in graph.outputs}


def _symbols(graph: Graph, inputs: Arrays) -> dict[str, int]:
    found = {}
    for name, value in graph.inputs:
        for dim, extent in zip(value.type.shape, inputs[name].shape, strict=True):
            linear = linear_part(dim)
            if linear is not None:
                symbol, factor, rest = linear
                found[symbol.name] = (extent - rest) // factor
    return found


def _wide(array: Array) -> Array:
    return array if array.dtype.kind in "iub" else array.astype(np.float64)


def is_exact(value: Value) -> bool:
    """Whether an operator gives one of its operands' elements, or otherwise never rounds."""
    match value.op:
        case Relu() | Clip() | Select() | Identity():
            return True
        case Unary(function) | Binary(function):
            return function in EXACT_FUNCTIONS
        case Cast():
            return not value.inputs[0].type.dtype.is_float or _is_wider(value.type.dtype, value.inputs[0].type.dtype)
        case Pool(mode):
            return mode == "max"
        case Resize(mode):
            return mode == "nearest"
        case Reduction(function):
            return function in ("max", "min")
    return value.op.kind not in ("anchor", "elementwise", "reduction") or value.op.name in (
        "ScatterElements", "ScatterNd", "TopKIndices",
    )  # fmt: skip


def _is_wider(result: DType, operand: DType) -> bool:
    return result.size > operand.size or result == operand


@dataclass(frozen=True)
class Expectation:
    """The right outputs, and the allowed error of each (0 for integers)."""

    outputs: Arrays
    errors: Mapping[str, float]


def expectation(
    graph: Graph,
    inputs: Arrays,
    rng: np.random.Generator,
    trials: int = 2,
    further: Further | None = None,
    rounds_anywhere: bool = False,
) -> Expectation:
    """trials: how often the network is computed with moved results. further, rounds_anywhere: see `Noise`."""
    outputs = computed(graph, inputs)
    changes = dict.fromkeys(outputs, 0.0)
    for way in (Rounding(), *[Noise(rng, further, rounds_anywhere)] * trials):
        for name, moved in computed(graph, inputs, way).items():
            if moved.dtype.kind == "f":
                with np.errstate(invalid="ignore"):
                    change = np.abs(moved - outputs[name])
                changes[name] = max(changes[name], float(np.nan_to_num(change, posinf=0.0).max(initial=0.0)))
    return Expectation(outputs, {name: _allowed(graph, name, outputs[name], changes[name]) for name in outputs})


def _allowed(graph: Graph, name: str, array: Array, change: float) -> float:
    dtype = dict(graph.outputs)[name].type.dtype
    if not dtype.is_float:
        return 0.0
    finite = np.abs(array[np.isfinite(array)])
    return FACTOR * change + UNITS * PRECISION[dtype.name] * (1e-3 + float(finite.max(initial=0.0)))


def for_onnx_runtime(network: Network, right: Expectation) -> Expectation:
    """The same with the errors that ONNX Runtime may make: between operators for which it has no kernels in narrower
    types it keeps float32, also where we know a result that was rounded.
    """
    narrow = [PRECISION[t.dtype] for n in network.nodes for t in n.outputs if t.dtype in ("float16", "bfloat16")]
    coarsest = max(narrow, default=0.0)

    def error(name: str) -> float:
        array, own = right.outputs[name], right.errors[name]
        if array.dtype.kind != "f":
            return own
        finite = np.abs(array[np.isfinite(array)])
        return own + 2 * coarsest * float(finite.max(initial=0.0))

    return Expectation(right.outputs, {name: error(name) for name in right.outputs})


def disagreement(actual: Array, expected: Array, error: float) -> str:
    """What is wrong with an output; empty if nothing is."""
    if actual.shape != expected.shape:
        return f"shape {actual.shape}, expected {expected.shape}"
    if expected.dtype.kind in "iub":
        wrong = np.asarray(actual != expected)
        distance = np.zeros(1)
    else:
        wide = actual.astype(np.float64)
        with np.errstate(invalid="ignore"):
            distance = np.abs(wide - expected)
        same = (wide == expected) | (np.isnan(wide) & np.isnan(expected))
        wrong = ~same & ~(distance <= error)
    if not wrong.any():
        return ""
    place = tuple(int(i) for i in np.argwhere(wrong)[0]) if wrong.ndim else ()
    largest = float(np.nan_to_num(distance, nan=inf).max(initial=0.0))
    return (
        f"{int(np.count_nonzero(wrong))} of {wrong.size} elements are wrong, the first at {place}: {actual[place]}, "
        f"expected {expected[place]}; largest error {largest:.2e}, allowed {error:.2e}"
    )


def by_onnx_runtime(network: Network, inputs: Sequence[Arrays]) -> list[dict[str, Array]] | str:
    """The outputs for each of the inputs, or why ONNX Runtime refuses the network."""
    try:
        import onnxruntime
    except ImportError:
        return "onnxruntime is not installed"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            network.model().SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        names = [item.name for item in session.get_inputs()]
        found = []
        for arrays in inputs:
            results = session.run(list(network.outputs), {name: arrays[name] for name in names})
            found.append(dict(zip(network.outputs, results, strict=True)))
    except Exception as error:  # noqa: BLE001  # Its errors have no common class.
        return str(error).splitlines()[0][:200]
    return found

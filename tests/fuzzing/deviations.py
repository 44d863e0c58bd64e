"""Where ONNX Runtime is known to compute something else than ONNX says, or ONNX leaves open what is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import prod, sqrt

import numpy as np
import numpy.typing as npt
from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from networks.judge import computed
from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.op import Op
from tensorwright.ops.activation import Clip, Shrink, Sigmoid
from tensorwright.ops.elementwise import Binary, Unary
from tensorwright.ops.indexing import TopKIndices
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import InstanceNormalization, LocalResponseNormalization
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import ArgReduction, Reduction
from tensorwright.ops.resize import Resize
from tensorwright.ops.shape import Pad
from tensorwright.tensor.dtype import FLOAT16, FLOAT64

Array = npt.NDArray[np.generic]
Arrays = Mapping[str, Array]
FLAGS = {
    "keepdims", "largest", "sorted", "noop_with_empty_axes", "exclusive", "reverse", "upper", "is_causal",
    "count_include_pad", "ceil_mode", "saturate", "storage_order", "align_corners", "transA", "transB",
    "select_last_index", "interleaved", "linear_before_reset", "layout", "antialias", "exclude_outside", "allowzero",
    "periodic", "training_mode", "center_point_box", "detect_negative", "detect_positive", "fmod", "input_forget",
    "is_case_sensitive", "inverse", "onesided", "new_axis",
}  # fmt: skip
"""ONNX leaves open what these mean that are neither 0 nor 1."""
UNIT = 2.0**-24
LOST = 2.0**-8
"""Of a result, times `networks.judge.FACTOR`: nothing is left of it, or it is NaN."""
LARGEST = (1 << 31) - 1
LARGEST_OF_PAIRS = (1 << 15) - 1
FACTORS = {"MatMulInteger": (0, 1), "ConvInteger": (0, 1), "QLinearMatMul": (0, 3), "QLinearConv": (0, 3)}
"""Which operands of a product of bytes are its factors."""


def judges(data: bytes, inputs: Arrays) -> bool:
    """Whether ONNX Runtime can tell what a model has to compute for these inputs."""
    model = ModelProto.FromString(data)
    known = {**inputs, **_constants(model)}
    return bool(model.graph.node) and all(_judges_node(node, known) for node in model.graph.node)


def _constants(model: ModelProto) -> Arrays:
    found = {}
    for tensor in (t for t in model.graph.initializer if t.data_location == TensorProto.DEFAULT):
        with suppress(TypeError, ValueError):
            found[tensor.name] = numpy_helper.to_array(tensor)
    return found


def _judges_node(node: NodeProto, known: Arrays) -> bool:
    if any(_passes_through(a.g) for a in node.attribute if a.type == AttributeProto.GRAPH):
        return False
    if any(a.name in FLAGS and a.i not in (0, 1) for a in node.attribute):
        return False
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type and not a.ref_attr_name}
    operands = [known.get(name, np.zeros(0)) for name in node.input]
    return _judges_windows(node.op_type, given, operands) and _judges_contents(node, given, operands, known)


def _judges_windows(operator: str, given: Mapping[str, object], operands: Sequence[Array]) -> bool:
    match operator:
        case "AveragePool" | "MaxPool" | "LpPool":  # Dilations and the rounding of extents do not count with auto_pad.
            return given.get("auto_pad", b"NOTSET") == b"NOTSET" or not (
                given.get("ceil_mode") or any(d > 1 for d in given.get("dilations", ())) or _skips(given, operands)
            )
        case "Conv" | "ConvInteger" | "QLinearConv":  # Between windows the padding by auto_pad would be negative.
            return given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") or not _skips(given, operands)
        case "ConvTranspose":  # Outputs that end after the last element that a window touches are shorter.
            return given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") or _windows_touch(given, operands)
    return True


def _judges_contents(node: NodeProto, given: Mapping[str, object], operands: Sequence[Array], known: Arrays) -> bool:
    match node.op_type:
        case "RNN" | "GRU" | "LSTM":  # The states after no steps are 0 instead of the initial ones.
            return (len(operands) < 5 or 0 not in operands[4]) and not _lacks_parameters(given)
        case "Slice":  # Backwards, the largest integers as an end are the beginning instead of the last element.
            return not (operands[4:] and (operands[4] < 0).any() and (operands[2] >= LARGEST).any())
        case "Attention":  # ONNX's evaluator does nothing with negative ones, its function body does.
            return not float(getattr(given.get("softcap", 0), "real", 0)) < 0
        case "BlackmanWindow" | "HannWindow":  # At their ends cosines cancel; what is left of 0 is rounding.
            return False
        case "ReduceSum" | "ReduceMean" | "ReduceL1" | "ReduceL2" | "ReduceSumSquare" | "ReduceProd":
            # Of integers: it computes them in floating point, and saturates where they leave the type.
            arrays = operands[:1] if known.keys() >= set(node.input[:1]) else known.values()
            return not any(_may_overflow(array, node.op_type) for array in arrays)
        case "Pow":  # Of integers: ONNX does not say what a negative one of 0 is, nor what those are that overflow.
            return not (operands[1:] and operands[1].dtype.kind in "iu" and _powers_are_open(*operands[:2]))
        case "Trilu":  # Up to 1.23, the place of the diagonal leaves 64 bits.
            return not (operands[1:] and (np.abs(operands[1].astype(np.float64)) > LARGEST).any())
        case "Squeeze":  # An empty list of axes is taken for none at all.
            return not (operands[1:] and node.input[1] in known and operands[1].size == 0)
        case "AffineGrid":  # Of one element, aligned at both ends, ONNX divides by zero.
            return not (given.get("align_corners") and operands[1:] and 1 in operands[1][2:])
        case "MatMulInteger" | "ConvInteger" | "QLinearMatMul" | "QLinearConv":
            # Of uint8 by int8, without VNNI: pairs are added up in 16 bits, and saturate.
            return not _pairs_may_saturate([operands[n] for n in FACTORS[node.op_type] if n < len(operands)])
        case "TopK":  # Unsorted, in any order.
            return bool(given.get("sorted", 1))
    return True


def further_off(value: Value, operands: Sequence[Array], result: Array) -> Array:
    """How much more than by rounding the result of an operator ONNX Runtime may be off."""
    zero = np.zeros(result.shape)
    match value.op:
        case Sigmoid():  # They are right to a part of 1, not of themselves.
            return zero + 2.0**-26
        case Reduction(function) if function in ("add", "mean"):  # Sums are added up in float32, in order.
            terms = operands[0].size / max(1, result.size)
            sizes = np.asarray(value.op.reference(np.abs(operands[0])), np.float64)
            return zero + 4 * UNIT + UNIT * sqrt(terms) * sizes
        case Reduction():
            return zero + 4 * UNIT
        case Resize():  # Coordinates are in float32, and are off by more the further they lie from the beginning.
            return zero + UNIT / 2 * max(operands[0].shape, default=0) * np.abs(operands[0]).max(initial=0.0)
        case LocalResponseNormalization():
            return np.asarray(_lost(value.op, operands[0]) * np.abs(result))
        case InstanceNormalization(epsilon=epsilon):  # It is the line ``x s + (b - m s)``, whose terms may cancel.
            x, scale = np.asarray(operands[0], np.float64), np.asarray(operands[1], np.float64)
            spread = np.sqrt(x.var(axis=tuple(range(2, x.ndim)), keepdims=True) + epsilon)
            lines = np.abs(x) * np.abs(scale).reshape(-1, *(1,) * (x.ndim - 2)) / spread
            return zero + 2 * UNIT * lines.max(axis=tuple(range(2, x.ndim)), keepdims=True, initial=0.0)
    return zero


def further_matters(value: Value) -> bool:
    """Whether ONNX Runtime may be off by more than others at a value."""
    further = Sigmoid | Reduction | Resize | LocalResponseNormalization | InstanceNormalization
    return isinstance(value.op, further) or value.type.dtype == FLOAT16


def differs(graph: Graph, inputs: Arrays) -> bool:
    """Whether ONNX Runtime computes something else at some value of a network, whatever the model says."""
    values = {f"{number}": value for number, value in enumerate(graph.order())}
    found = computed(Graph(graph.inputs, tuple(values.items())), inputs)
    arrays = {value: found[name] for name, value in values.items()}
    return any(_differs(value, [arrays[operand] for operand in value.inputs], arrays[value]) for value in arrays)


def _differs(value: Value, operands: Sequence[Array], result: Array) -> bool:
    match value.op:
        case Pool() | Reduction() | ArgReduction() if operands[0].size == 0 or result.size == 0:
            # Windows have no place, so that the result is empty by ONNX's formula; it keeps extents of reduced axes.
            return True
        case MatMul() if operands[0].size == 0:  # Up to 1.30, behind a transposition, it forgets axes of batches.
            return True
        case Binary(function="pow") if value.type.dtype.is_integer:  # ONNX does not say what those are that overflow.
            return _powers_are_open(*operands)
        case Shrink():  # Of float64: it is computed in float32.
            return value.type.dtype == FLOAT64
        case Resize(mode="linear" | "cubic"):  # Whether an element of weight 0 counts if it is not finite, is open.
            return not np.isfinite(operands[0]).all()
        case Pad(mode="wrap" | "reflect" as mode):
            # By more than there is: up to ONNX Runtime 1.30, it copies what it has not yet written.
            pads = zip(value.op.before, value.op.after, operands[0].shape, strict=True)
            kept = [(b, a, n + min(b, 0) + min(a, 0) - (mode == "reflect")) for b, a, n in pads]
            return any(max(before, after) > most for before, after, most in kept)
        case LocalResponseNormalization():  # Up to 1.23, sizes have 32 bits.
            return value.op.size > LARGEST or bool((_lost(value.op, operands[0]) > LOST).any())
    return _orders(value.op, operands)


def _orders(op: Op, operands: Sequence[Array]) -> bool:
    """Whether ONNX Runtime takes other elements for the larger ones."""
    match op:
        case Pool("max") | Reduction("max" | "min") | ArgReduction() | TopKIndices():
            return _has_nan(operands[0])
        case Binary("max" | "min"):
            return any(_has_nan(array) or _is_long(array) for array in operands)
        case Unary("sign") | Clip():
            return _is_long(operands[0])
    return False


def _has_nan(array: Array) -> bool:
    """ONNX Runtime passes over NaN in some extremes, or orders it in other ways."""
    return array.dtype.kind == "f" and bool(np.isnan(array).any())


def _is_long(array: Array) -> bool:
    """Of int64 with more than 32 bits: up to ONNX Runtime 1.30, the larger of 1 and 2^31 may be 1."""
    return array.dtype == np.int64 and bool((array != array.astype(np.int32)).any())


def _lost(op: LocalResponseNormalization, array: Array) -> Array:
    """How much less precise, in parts of itself, a result is: the sums of squares run along the channels, adding one
    and taking one away, so that large ones leave rounding behind.
    """
    if not array.size:
        return np.zeros(array.shape)
    squares = np.square(np.asarray(array, np.float64))
    most = array.shape[1] - 1
    reach = [(0, 0)] * array.ndim
    reach[1] = (min((op.size - 1) // 2, most), min(op.size // 2, most))
    window = np.lib.stride_tricks.sliding_window_view(np.pad(squares, reach), sum(reach[1]) + 1, 1).sum(-1)
    factor = op.alpha / op.size
    with np.errstate(divide="ignore", invalid="ignore"):
        off = UNIT * (abs(op.bias) + abs(factor) * squares.max(1, keepdims=True))
        return np.nan_to_num(np.abs(op.beta * off / (op.bias + factor * window)), nan=0.0)


def _passes_through(body: GraphProto) -> bool:
    """Whether an output of a subgraph is one of its inputs: ONNX Runtime leaves such a one as it found its memory."""
    return bool({value.name for value in body.output} & {value.name for value in body.input})


def _skips(given: Mapping[str, object], operands: Sequence[Array]) -> bool:
    """Whether elements lie between windows, so that padding that is worked out from their number may be negative."""
    kernel = given.get("kernel_shape") or (operands[1].shape[2:] if operands[1:] else ())
    strides = given.get("strides") or (1,)
    dilations = given.get("dilations") or (1,) * len(kernel)
    return not kernel or any(s > (k - 1) * d + 1 for s, k, d in zip(strides, kernel, dilations, strict=False))


def _powers_are_open(base: Array, exponent: Array) -> bool:
    """Whether some power is of a negative exponent, or leaves the type of the base."""
    if base.dtype.kind not in "iu":
        return False
    with np.errstate(all="ignore"):
        largest = np.power(np.abs(base.astype(np.float64)), exponent.astype(np.float64))
        return bool((exponent < 0).any() or (largest > np.iinfo(base.dtype).max).any())


def _windows_touch(given: Mapping[str, object], operands: Sequence[npt.NDArray[np.generic]]) -> bool:
    """Whether no element of a deconvolution lies between its windows."""
    kernel = given.get("kernel_shape") or operands[1].shape[2:]
    strides, dilations = (given.get(name) or (1,) * len(kernel) for name in ("strides", "dilations"))
    return all(s <= (k - 1) * d + 1 for s, k, d in zip(strides, kernel, dilations, strict=False)) and bool(kernel)


def _lacks_parameters(given: Mapping[str, object]) -> bool:
    """Whether a recurrent layer has functions without the numbers that they need, for which ONNX has no defaults."""
    functions = given.get("activations") or ()
    needy = {b"Affine", b"ScaledTanh", b"ThresholdedRelu"} & set(functions if isinstance(functions, list) else ())
    return bool(needy) and not (given.get("activation_alpha") and given.get("activation_beta"))


def _pairs_may_saturate(factors: Sequence[Array]) -> bool:
    """Whether two products of bytes may be more than 16 bits hold. What is not known may be the largest bytes."""
    known = [array for array in factors if array.dtype.kind in "iu"]
    if len(known) == len(factors) and len({array.dtype for array in known}) == 1:
        return False
    largest = [int(np.abs(array.astype(np.int64)).max(initial=0)) for array in known]
    return 2 * prod(largest) * 255 ** (len(factors) - len(known)) > LARGEST_OF_PAIRS


def _may_overflow(array: Array, operator: str) -> bool:
    """Whether sums, sums of squares or products of an array's elements may leave its type, or not be exact."""
    if array.dtype.kind not in "iu" or not array.size:
        return False
    largest = float(np.abs(array.astype(np.float64)).max())
    with np.errstate(over="ignore"):
        result = {"ReduceProd": np.float64(largest) ** array.size, "ReduceSumSquare": array.size * largest**2,
                  "ReduceL2": array.size * largest**2}.get(operator, array.size * largest)  # fmt: skip
    return bool(result > min(int(np.iinfo(array.dtype).max), 1 << 53))

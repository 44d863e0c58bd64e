"""Where ONNX Runtime is known to compute something else than ONNX says, or ONNX leaves open what is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
import numpy.typing as npt
from onnx import ModelProto, NodeProto, helper, numpy_helper

from tensorwright.graph.graph import Value
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.tensor.dim import evaluate

Arrays = Mapping[str, npt.NDArray[np.generic]]
FLAGS = {
    "keepdims", "largest", "sorted", "noop_with_empty_axes", "exclusive", "reverse", "upper", "is_causal",
    "count_include_pad", "ceil_mode", "saturate", "storage_order", "align_corners", "transA", "transB",
    "select_last_index", "interleaved", "linear_before_reset", "layout", "antialias", "exclude_outside", "allowzero",
    "periodic",
}  # fmt: skip
"""ONNX leaves open what these mean that are neither 0 nor 1."""
FURTHER_OFF = {"Sigmoid": 2.0**-26, "Reduction": 2.0**-22}
"""ONNX Runtime's sigmoids are right to a part of 1, not of themselves. Its sums are added up in float32, in order."""
FORWARD_END = (1 << 31) - 1


def judges(data: bytes, inputs: Arrays) -> bool:
    """Whether ONNX Runtime can tell what a model has to compute for these inputs."""
    model = ModelProto.FromString(data)
    known = {**inputs, **_constants(model)}
    return bool(model.graph.node) and all(_judges_node(node, known) for node in model.graph.node)


def _constants(model: ModelProto) -> Arrays:
    found = {}
    for tensor in model.graph.initializer:
        with suppress(TypeError, ValueError):
            found[tensor.name] = numpy_helper.to_array(tensor)
    return found


def _judges_node(node: NodeProto, known: Arrays) -> bool:
    if any(a.name in FLAGS and a.i not in (0, 1) for a in node.attribute):
        return False
    given = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.type and not a.ref_attr_name}
    operands = [known.get(name, np.zeros(0)) for name in node.input]
    match node.op_type:
        case "AveragePool" | "MaxPool" | "LpPool":  # Dilations and the rounding of extents do not count with auto_pad.
            return given.get("auto_pad", b"NOTSET") == b"NOTSET" or not (
                given.get("ceil_mode") or any(d > 1 for d in given.get("dilations", ()))
            )
        case "ConvTranspose":  # Outputs that end after the last element that a window touches are shorter.
            return given.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID") or _windows_touch(given, operands)
        case "RNN" | "GRU" | "LSTM":  # The states after no steps are 0 instead of the initial ones.
            return len(operands) < 5 or 0 not in operands[4]
        case "Slice":  # Backwards, the largest integers as an end are the beginning instead of the last element.
            return not (operands[4:] and (operands[4] < 0).any() and (operands[2] >= FORWARD_END).any())
        case "Attention":  # ONNX's evaluator does nothing with negative ones, its function body does.
            return not float(getattr(given.get("softcap", 0), "real", 0)) < 0
        case "BlackmanWindow" | "HannWindow":  # At their ends cosines cancel; what is left of 0 is rounding.
            return False
        case "Max" | "Min":  # Of int64: on some processors the larger of 1 and 2^31 is 1.
            return not any(array.dtype == np.int64 and (array != array.astype(np.int32)).any() for array in operands)
        case "ReduceSum" | "ReduceMean" | "ReduceL1":  # Of integers: it saturates where sums leave the type.
            return not any(map(_may_overflow, operands[:1] if known.keys() >= set(node.input[:1]) else known.values()))
        case "Pow":  # Of integers: ONNX does not say what a negative one of 0 is.
            return not (operands[1:] and operands[1].dtype.kind == "i" and (operands[1] < 0).any())
        case "LRN":  # Sums of squares that run along the channels cancel, and without a bias nothing else is there.
            return given.get("bias", 1.0) > 0
    return True


def is_open(value: Value, environment: Mapping[str, int]) -> bool:
    """Whether ONNX Runtime computes something else at a value whatever the model says."""

    def is_empty(value: Value) -> bool:
        return 0 in [evaluate(dim, environment) for dim in value.type.shape]

    match value.op:
        case Pool():  # A window has no place: the result is empty by ONNX's formula, but ONNX Runtime makes one of it.
            return is_empty(value)
        case Reduction():  # Of no elements: it keeps the extents of reduced axes.
            return is_empty(value.inputs[0])
    return False


def _windows_touch(given: Mapping[str, object], operands: Sequence[npt.NDArray[np.generic]]) -> bool:
    """Whether no element of a deconvolution lies between its windows."""
    kernel = given.get("kernel_shape") or operands[1].shape[2:]
    strides, dilations = (given.get(name) or (1,) * len(kernel) for name in ("strides", "dilations"))
    return all(s <= (k - 1) * d + 1 for s, k, d in zip(strides, kernel, dilations, strict=False)) and bool(kernel)


def _may_overflow(array: npt.NDArray[np.generic]) -> bool:
    """Whether sums of an array's elements may leave its type."""
    if array.dtype.kind not in "iu" or not array.size:
        return False
    limit = int(np.iinfo(array.dtype).max) // array.size
    return bool(array.max() > limit or array.min() < -limit)

"""Operators that move, reduce or pick elements, matrix products and constants."""

from __future__ import annotations

import numpy as np

from tensorwright.compat.uff.custom import custom
from tensorwright.compat.uff.model import FieldValue, Orders, uff_dtype
from tensorwright.compat.uff.source import TensorFlowNode, uff_name
from tensorwright.importers.arrays import MOST_PARTS
from tensorwright.importers.failures import Unsupported
from tensorwright.importers.tensorflow.read import Reference
from tensorwright.importers.tensorflow.tensors import DTYPES
from tensorwright.tensor.dim import is_static
from tensorwright.tensor.dtype import DType

Sources = list[Reference]


def Placeholder(node: TensorFlowNode) -> Sources:
    dtype, shape = node.attributes.get("dtype"), node.attributes.get("shape")
    if not isinstance(dtype, DType):
        raise Unsupported(
            f"the input has no element type that UFF has; known are {', '.join(map(str, DTYPES.values()))}"
        )
    extents = list(shape) if isinstance(shape, tuple) else []
    return node.write(
        "Input",
        dtype=uff_dtype(dtype, f"input '{node.name}'"),
        shape=[n if isinstance(n, int) else -1 for n in extents],
    )


def Const(node: TensorFlowNode) -> Sources:
    array = node.constants.array(Reference(node.name))
    if array is None:
        raise Unsupported("a constant whose element type is not supported")
    node.uff.constant(node.name, array)
    return []


def MatMul(node: TensorFlowNode) -> Sources:
    data = "CN" if node.flag("transpose_a") else "NC"
    kernel = "KC" if node.flag("transpose_b") else "CK"
    return node.write("FullyConnected", 0, 1, inputs_orders=Orders((data, kernel)))


def Reshape(node: TensorFlowNode) -> Sources:
    """A reshape in a scope called after flattening is a Flatten, unless its shape says otherwise."""
    path = node.name.lower().split("/")
    target = node.array(1)
    if len(path) > 1 and "flatten" in path[-2] and (target is None or target.size == 2):
        return node.write("Flatten", 0)
    return node.write("Reshape", 0, 1)


def Shape(node: TensorFlowNode) -> Sources:
    return node.write("Shape", 0)


def Squeeze(node: TensorFlowNode) -> Sources:
    return node.write("Squeeze", 0, axes=node.ints("squeeze_dims"))


def ExpandDims(node: TensorFlowNode) -> Sources:
    return node.write("ExpandDims", 0, axis=_axis(node, 1))


def Transpose(node: TensorFlowNode) -> Sources:
    return node.write("Transpose", 0, permutation=node.integers(1, "the permutation"))


def ConcatV2(node: TensorFlowNode) -> Sources:
    last = len(node.inputs) - 1
    return node.write("Concat", *range(last), axis=_axis(node, last))


def Concat(node: TensorFlowNode) -> Sources:
    return node.write("Concat", *range(1, len(node.inputs)), axis=_axis(node, 0))


def Pack(node: TensorFlowNode) -> Sources:
    return node.write("Stack", *range(len(node.inputs)), axis=node.integer("axis", 0))


def Pad(node: TensorFlowNode) -> Sources:
    return node.write("Pad", 0, 1)


def PadV2(node: TensorFlowNode) -> Sources:
    return custom(node) if node.known(2, "the constant value").item() else node.write("Pad", 0, 1)


def StridedSlice(node: TensorFlowNode) -> Sources:
    if node.integer("ellipsis_mask", 0) or node.integer("new_axis_mask", 0):
        return custom(node)
    masks = {name: node.integer(name, 0) for name in ("begin_mask", "end_mask", "shrink_axis_mask")}
    return node.write("StridedSlice", 0, 1, 2, 3, **masks)


def Slice(node: TensorFlowNode) -> Sources:
    begin, size = node.array(1), node.array(2)
    if begin is None or size is None:
        return custom(node)
    starts = [int(n) for n in begin.reshape(-1)]
    sizes = [int(n) for n in size.reshape(-1)]
    whole = sum(1 << axis for axis, extent in enumerate(sizes) if extent == -1)
    ends = [start + max(extent, 0) for start, extent in zip(starts, sizes, strict=True)]
    _strided_slice(node, node.name, starts, ends, end_mask=whole)
    return [node.source(0)]


def Split(node: TensorFlowNode) -> Sources:
    """Every part that is used becomes a slice."""
    axis, extent = _split_axis(node, 1, _axis(node, 0))
    count = _counted(node, node.integer("num_split", 1))
    return _parts(node, 1, axis, [extent // count] * count)


def SplitV(node: TensorFlowNode) -> Sources:
    axis, extent = _split_axis(node, 0, _axis(node, 2))
    given = node.integers(1, "size_splits")
    known = sum(size for size in given if size != -1)
    return _parts(node, 0, axis, [extent - known if size == -1 else size for size in given])


def Unpack(node: TensorFlowNode) -> Sources:
    axis, extent = _split_axis(node, 0, node.integer("axis", 0))
    return _parts(node, 0, axis, [1] * _counted(node, extent), drop=True)


def Sum(node: TensorFlowNode) -> Sources:
    return _reduce(node, "sum")


def Prod(node: TensorFlowNode) -> Sources:
    return _reduce(node, "prod")


def Max(node: TensorFlowNode) -> Sources:
    return _reduce(node, "max")


def Min(node: TensorFlowNode) -> Sources:
    return _reduce(node, "min")


def Mean(node: TensorFlowNode) -> Sources:
    return _reduce(node, "mean")


def ArgMax(node: TensorFlowNode) -> Sources:
    return node.write("ArgMax", 0, axis=_axis(node, 1))


def ArgMin(node: TensorFlowNode) -> Sources:
    return node.write("ArgMin", 0, axis=_axis(node, 1))


def Gather(node: TensorFlowNode) -> Sources:
    return node.write("Gather", 0, 1, **_gather_fields(node))


def GatherV2(node: TensorFlowNode) -> Sources:
    if node.integer("batch_dims", 0):
        return custom(node)
    return node.write("GatherV2", 0, 1, axis=_axis(node, 2), **_gather_fields(node))


def ResourceGather(node: TensorFlowNode) -> Sources:
    return custom(node) if node.integer("batch_dims", 0) else node.write("Gather", 0, 1, **_gather_fields(node))


def _gather_fields(node: TensorFlowNode) -> dict[str, FieldValue]:
    types: dict[str, FieldValue] = {}
    for field, names in (("indices_dtype", ("Tindices",)), ("params_dtype", ("Tparams", "dtype"))):
        found = next((node.attributes[name] for name in names if name in node.attributes), None)
        if isinstance(found, DType):
            types[field] = uff_dtype(found, f"node '{node.name}'")
    return {**types, "validate_indices": node.flag("validate_indices", True)}


def _reduce(node: TensorFlowNode, func: str) -> Sources:
    keep = node.flag("keep_dims")
    return node.write("Reduce", 0, func=func, axes=node.integers(1, "the axes"), keepdims=keep)


def _split_axis(node: TensorFlowNode, number: int, axis: int) -> tuple[int, int]:
    """The axis from the front and its extent."""
    kind = node.types.of(node.source(number))
    if kind is None or not -kind.rank <= axis < kind.rank:
        raise Unsupported("the shape of what is split cannot be inferred")
    extent = kind.shape[axis]
    if not is_static(extent) or not isinstance(extent, int):
        raise Unsupported(f"axis {axis} of {kind} is not known")
    return axis % kind.rank, extent


def _axis(node: TensorFlowNode, number: int) -> int:
    found = node.integers(number, "the axis")
    if len(found) != 1:
        raise node.fail(f"the axis must be one number, found {found}")
    return found[0]


def _counted(node: TensorFlowNode, parts: int) -> int:
    if not 1 <= parts <= MOST_PARTS:
        raise node.fail(f"a tensor in {parts} parts; expected 1 to {MOST_PARTS}: is the file damaged?")
    return parts


def _parts(node: TensorFlowNode, number: int, axis: int, sizes: list[int], *, drop: bool = False) -> Sources:
    whole = (1 << axis) - 1
    start = 0
    for index, size in enumerate(sizes):
        name = uff_name(Reference(node.name, index))
        starts, ends = [*[0] * axis, start], [*[0] * axis, start + size]
        _strided_slice(
            node,
            name,
            starts,
            ends,
            number,
            begin_mask=whole,
            end_mask=whole,
            shrink_axis_mask=1 << axis if drop else 0,
        )
        start += size
    return [node.source(number)]


def _strided_slice(
    node: TensorFlowNode,
    name: str,
    starts: list[int],
    ends: list[int],
    number: int = 0,
    *,
    begin_mask: int = 0,
    end_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> None:
    bounds = [
        node.uff.constant(f"{name}/{what}", np.array(numbers, np.int32))
        for what, numbers in (("begin", starts), ("end", ends), ("strides", [1] * len(starts)))
    ]
    node.uff.add(
        "StridedSlice", name, [node.name_of(number), *bounds],
        {"begin_mask": begin_mask, "end_mask": end_mask, "shrink_axis_mask": shrink_axis_mask},
    )  # fmt: skip

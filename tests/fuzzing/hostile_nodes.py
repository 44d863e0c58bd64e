"""Changes of ONNX models that know what nodes and tensors are: attributes of operators, constants as operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import numpy as np
import onnx
from onnx import AttributeProto, ModelProto, NodeProto, helper, numpy_helper

from fuzzing.messages import FLOATS, INTEGERS

SMALL = (-3, -2, -1, 0, 0, 1, 1, 2, 2, 3, 4, 5, 7, 8)
MOST_EXTENT = 64
MOST_ELEMENTS = 1 << 14
INTEGRAL = (onnx.TensorProto.INT64, onnx.TensorProto.INT32)


def change_model(message: ModelProto, rng: np.random.Generator) -> None:
    """Give a node a strange attribute, or an operand a strange constant, or a tensor a strange shape."""
    ways: Sequence[Callable[[ModelProto, np.random.Generator], None]] = (_attribute, _constant, _shape, _operand)
    ways[int(rng.integers(len(ways)))](message, rng)


def _attribute(message: ModelProto, rng: np.random.Generator) -> None:
    if not message.graph.node:
        return
    node = message.graph.node[int(rng.integers(len(message.graph.node)))]
    if not onnx.defs.has(node.op_type, node.domain):
        return
    known = sorted(onnx.defs.get_schema(node.op_type, node.domain).attributes.items())
    if known:
        name, schema = known[int(rng.integers(len(known)))]
        _give(node, name, schema.type.value, rng)


def _give(node: NodeProto, name: str, kind: int, rng: np.random.Generator) -> None:
    before = next((a for a in node.attribute if a.name == name), None)
    length = int(rng.integers(0, 5)) if before is None or rng.random() < 0.3 else max(len(before.ints), 1)
    value: object
    match kind:
        case AttributeProto.INT:
            value = integer(rng)
        case AttributeProto.INTS:
            value = [integer(rng) for _ in range(length)]
            if before is not None and before.ints and rng.random() < 0.7:
                value = list(before.ints)
                value[int(rng.integers(len(value)))] = integer(rng)
        case AttributeProto.FLOAT:
            value = float(rng.choice(FLOATS))
        case AttributeProto.FLOATS:
            value = [float(rng.choice(FLOATS)) for _ in range(length)]
        case AttributeProto.STRING:
            value = str(
                rng.choice(("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET", "linear", "reflect", "add", "", "x"))
            )
        case _:
            return
    kept = [a for a in node.attribute if a.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value, attr_type=kind)])


def integer(rng: np.random.Generator) -> int:
    return int(rng.choice(SMALL)) if rng.random() < 0.75 else int(INTEGERS[int(rng.integers(len(INTEGERS)))])


def _constant(message: ModelProto, rng: np.random.Generator) -> None:
    """An input of integers becomes a constant, or a constant of integers changes."""
    graph = message.graph
    inputs = [v for v in graph.input if v.type.tensor_type.elem_type in INTEGRAL]
    here = onnx.TensorProto.DEFAULT
    tensors = [t for t in graph.initializer if t.data_type in INTEGRAL and t.data_location == here]
    if inputs and (not tensors or rng.random() < 0.7):
        chosen = inputs[int(rng.integers(len(inputs)))]
        dims = [max(0, min(d.dim_value, MOST_EXTENT)) for d in chosen.type.tensor_type.shape.dim]
        if prod(dims) > MOST_ELEMENTS:
            return
        array = np.array([integer(rng) for _ in range(prod(dims))], np.int64).reshape(dims)
        kind = helper.tensor_dtype_to_np_dtype(chosen.type.tensor_type.elem_type)
        graph.initializer.append(numpy_helper.from_array(array.astype(kind), chosen.name))
        graph.input.remove(chosen)
    elif tensors:
        tensor = tensors[int(rng.integers(len(tensors)))]
        try:
            array = numpy_helper.to_array(tensor).copy()
        except (ValueError, TypeError):
            return
        if array.size:
            with np.errstate(over="ignore"):
                array.reshape(-1)[int(rng.integers(array.size))] = np.int64(integer(rng)).astype(array.dtype)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def _shape(message: ModelProto, rng: np.random.Generator) -> None:
    inputs = [v for v in message.graph.input if v.type.tensor_type.shape.dim]
    if not inputs:
        return
    dims = inputs[int(rng.integers(len(inputs)))].type.tensor_type.shape.dim
    chosen = dims[int(rng.integers(len(dims)))]
    match rng.integers(4):
        case 0:
            chosen.dim_param = str(rng.choice(("n", "m", "n", "batch")))
        case 1 if len(dims) < 8:
            dims.add().dim_value = int(rng.choice((1, 1, 2, 0)))
        case 2:
            dims.remove(chosen)
        case _:
            chosen.dim_value = integer(rng)


def _operand(message: ModelProto, rng: np.random.Generator) -> None:
    """A node takes another tensor, or goes without one of its operands."""
    nodes = [node for node in message.graph.node if node.input]
    if not nodes:
        return
    node = nodes[int(rng.integers(len(nodes)))]
    names = ["", *(v.name for v in message.graph.input), *(name for n in message.graph.node for name in n.output)]
    node.input[int(rng.integers(len(node.input)))] = names[int(rng.integers(len(names)))]

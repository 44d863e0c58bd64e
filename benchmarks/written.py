"""The networks of `benchmarks.gpu.models` as ONNX files, for machines without PyTorch: ``python -m benchmarks.written
FOLDER [NAME …]``. Weights are random; transformers read numbers of tokens, as those that PyTorch exports do.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.gpu.models import MODELS
from tensorwright.graph.graph import Graph, Value, is_constant, weights_in
from tensorwright.ops.activation import Clip, Gelu, Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.elementwise import Binary
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.normalization import LayerNormalization, Softmax
from tensorwright.ops.pooling import Pool
from tensorwright.ops.reduction import Reduction
from tensorwright.ops.shape import Concatenation, Reshape, Slice, Transpose
from tensorwright.tensor.dtype import FLOAT32

OPSET, TOKENS = 20, 1000
NAMES = {"bert_base": "bert"}
"""What networks of `benchmarks.models` are called there, where it is another name."""
PLAIN: Mapping[type, str] = {Relu: "Relu", MatMul: "MatMul", Gelu: "Gelu"}


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, Any] = {}
        self.names: dict[Value, str] = {}

    def name(self, value: Value) -> str:
        if value not in self.names:
            self.names[value] = f"v{len(self.names)}"
            if is_constant(value):
                self.constants[self.names[value]] = weights_in(value).array
        return self.names[value]

    def constant(self, array: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))

    def write(self, value: Value) -> None:
        """The nodes of one value."""
        op, inputs, output = value.op, [self.name(operand) for operand in value.inputs], self.name(value)
        match op:
            case MatMul(transpose_b=True):
                rank = value.inputs[1].type.rank
                order = [*range(rank - 2), rank - 1, rank - 2]
                self.node("Transpose", inputs[1:], f"{output} turned", perm=order)
                self.node("MatMul", [inputs[0], f"{output} turned"], output)
            case Relu() | MatMul() | Gelu():
                self.node(PLAIN[type(op)], inputs, output)
            case Clip():
                bounds = [self.constant(np.asarray(bound, value.type.dtype.numpy)) for bound in (op.low, op.high)]
                self.node("Clip", inputs + bounds, output)
            case Binary():
                self.node(op.function.capitalize(), inputs, output)
            case Convolution():
                pads = [*op.pads_begin, *op.pads_end]
                self.node("Conv", inputs, output, strides=list(op.strides), pads=pads, group=op.groups)
            case Pool():
                pads = [*op.pads_begin, *op.pads_end]
                self.node("MaxPool", inputs, output, kernel_shape=list(op.window), strides=list(op.strides), pads=pads)
            case Reduction():
                self.node("ReduceMean", [*inputs, self.constant(np.array(op.axes))], output, keepdims=0)
            case LayerNormalization():
                self.node("LayerNormalization", inputs, output, axis=op.axis, epsilon=op.epsilon)
            case Softmax():
                self.node("Softmax", inputs, output, axis=op.axis)
            case Reshape() | Concatenation() | Slice() | Transpose():
                self.rearrange(op, inputs, output)
            case _:
                raise NotImplementedError(f"{op} is not written in ONNX")

    def rearrange(self, op: Reshape | Concatenation | Slice | Transpose, inputs: list[str], output: str) -> None:
        """The node of an operator that computes nothing."""
        match op:
            case Reshape():
                self.node("Reshape", [*inputs, self.constant(np.array(op.shape))], output)
            case Concatenation():
                self.node("Concat", inputs, output, axis=op.axis)
            case Slice():
                ends = np.add(
                    op.starts, np.multiply(op.extents, op.steps)
                )  # Of steps forward, which networks here have.
                places = (op.starts, ends, range(len(op.starts)), op.steps)
                self.node("Slice", [*inputs, *(self.constant(np.array(place)) for place in places)], output)
            case Transpose():
                self.node("Transpose", inputs, output, perm=list(op.permutation))


def onnx_model(graph: Graph, *, reads_tokens: bool = True) -> onnx.ModelProto:
    """A network of the few operators that these benchmarks have, in ONNX; reads_tokens: transformers do."""
    made = _Writer()
    ((_, input),) = graph.inputs
    name, shape, dtype = made.name(input), list(input.type.shape), _onnx_type(input)
    if len(shape) == 3 and reads_tokens:
        table = np.random.default_rng(7).standard_normal((TOKENS, shape[-1]), dtype=np.float32)
        made.node("Gather", [made.constant(table.astype(input.type.dtype.numpy)), "tokens"], name)
        name, shape, dtype = "tokens", shape[:2], onnx.TensorProto.INT64
    for value in graph.order():
        if value.inputs:
            made.write(value)
    model = helper.make_graph(
        made.nodes, graph.name, [helper.make_tensor_value_info(name, dtype, shape)],
        [helper.make_tensor_value_info(made.name(v), _onnx_type(v), list(v.type.shape)) for _, v in graph.outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in made.constants.items()],
    )  # fmt: skip
    return helper.make_model(model, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _onnx_type(value: Value) -> int:
    return helper.np_dtype_to_tensor_dtype(np.dtype(value.type.dtype.numpy))


def written_file(name: str, folder: Path) -> Path:
    """The ONNX file of a network at batch 1 in float32, written if it is not there."""
    path = folder / f"{name}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.onnx")
        onnx.save(onnx_model(MODELS[NAMES.get(name, name)](1, FLOAT32)), str(part))
        part.replace(path)
    return path


if __name__ == "__main__":
    for model in sys.argv[2:] or list(MODELS):
        print(written_file(model, Path(sys.argv[1])))

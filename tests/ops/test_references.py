"""The references against an independent judge: every case that ONNX can state as one node, run by ONNX Runtime.

A few cases that ONNX Runtime has no kernel for, or shortens, are judged by ONNX's own evaluator.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from cases import collection
from cases.case import Array, Case, assert_close
from exact_products import UNSIGNED, unsigned
from tensorwright.ops import activation, indexing, normalization, reduction, shape
from tensorwright.ops.convolution import Convolution, Deconvolution
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.pooling import Pool
from tensorwright.ops.resize import Resize
from tensorwright.tensor.dtype import INT8

Node = tuple[str, dict[str, object], list[Array]]
"""Name of the ONNX operator, its attributes, and the inputs that it has beside those of the case."""

BEYOND_ONNX_RUNTIME = (
    "Resize-three-axes",  # It interpolates along two axes of four,
    "Resize-scale-without-growth",  # and copies where the extents stay the same.
)
REDUCTIONS = {
    "add": "ReduceSum", "mean": "ReduceMean", "max": "ReduceMax", "min": "ReduceMin", "mul": "ReduceProd",
    "l1": "ReduceL1", "l2": "ReduceL2", "sum_square": "ReduceSumSquare", "log_sum": "ReduceLogSum",
    "log_sum_exp": "ReduceLogSumExp",
}  # fmt: skip
SIMPLE = {
    activation.Relu: "Relu", activation.Sigmoid: "Sigmoid", activation.HardSwish: "HardSwish", activation.Mish: "Mish",
    activation.Softplus: "Softplus", activation.Softsign: "Softsign", activation.PRelu: "PRelu",
}  # fmt: skip


def int64(*values: int) -> Array:
    return np.asarray(values, dtype=np.int64)


def activation_node(op, case: Case) -> Node | None:
    match op:
        case activation.LeakyRelu(alpha=alpha):
            return "LeakyRelu", {"alpha": alpha}, []
        case activation.Elu(alpha=alpha):
            return "Elu", {"alpha": alpha}, []
        case activation.Celu(alpha=alpha):
            return "Celu", {"alpha": alpha}, []
        case activation.ThresholdedRelu(alpha=alpha):
            return "ThresholdedRelu", {"alpha": alpha}, []
        case activation.Selu(alpha=alpha, gamma=gamma):
            return "Selu", {"alpha": alpha, "gamma": gamma}, []
        case activation.HardSigmoid(alpha=alpha, beta=beta):
            return "HardSigmoid", {"alpha": alpha, "beta": beta}, []
        case activation.Gelu(approximate=approximate):
            return "Gelu", {"approximate": "tanh" if approximate else "none"}, []
        case activation.Clip(low=low, high=high) if case.inputs[0].type.dtype.is_float:
            limits = (-np.inf if low is None else low, np.inf if high is None else high)
            return "Clip", {}, [np.asarray(limit, dtype=np.float32) for limit in limits]
        case activation.Shrink(bias=bias, lambd=lambd):
            return "Shrink", {"bias": bias, "lambd": lambd}, []
        case _:
            return (SIMPLE[type(op)], {}, []) if type(op) in SIMPLE else None


def window_node(op, case: Case) -> Node | None:
    match op:
        case Convolution():
            return "Conv", window_attributes(op) | {"group": op.groups}, []
        case Deconvolution() if min(op.pads_end) >= 0:
            return "ConvTranspose", window_attributes(op) | {
                "group": op.groups, "output_padding": op.output_padding
            }, []  # fmt: skip
        case Pool():
            attributes = window_attributes(op) | {"kernel_shape": op.window, "ceil_mode": int(op.ceil_mode)}
            if op.mode == "average":
                attributes["count_include_pad"] = int(op.count_include_pad)
            if op.mode == "lp":
                attributes["p"] = op.p
            return {"max": "MaxPool", "average": "AveragePool", "lp": "LpPool"}[op.mode], attributes, []
        case _:
            return None


def window_attributes(op) -> dict[str, object]:
    return {"strides": op.strides, "pads": (*op.pads_begin, *op.pads_end), "dilations": op.dilations}


def reduction_node(op) -> Node | None:
    match op:
        case reduction.Reduction():
            extra = [int64(*op.axes)]
            return REDUCTIONS[op.function], {"keepdims": int(op.keep_dims), "noop_with_empty_axes": 1}, extra
        case reduction.ArgReduction():
            attributes = {"axis": op.axis, "keepdims": int(op.keep_dims), "select_last_index": int(op.select_last)}
            return {"max": "ArgMax", "min": "ArgMin"}[op.function], attributes, []
        case reduction.CumulativeSum():
            attributes = {"exclusive": int(op.exclusive), "reverse": int(op.reverse)}
            return "CumSum", attributes, [np.asarray(op.axis, dtype=np.int64)]
        case _:
            return None


def normalization_node(op) -> Node | None:
    match op:
        case normalization.LpNormalization():
            return "LpNormalization", {"axis": op.axis, "p": op.p}, []
        case normalization.Softmax(axis=axis):
            return "Softmax", {"axis": axis}, []
        case normalization.LogSoftmax(axis=axis):
            return "LogSoftmax", {"axis": axis}, []
        case normalization.LayerNormalization(axis=axis, epsilon=epsilon):
            return "LayerNormalization", {"axis": axis, "epsilon": epsilon}, []
        case normalization.RmsNormalization(axis=axis, epsilon=epsilon):
            return "RMSNormalization", {"axis": axis, "epsilon": epsilon}, []
        case normalization.InstanceNormalization(epsilon=epsilon):
            return "InstanceNormalization", {"epsilon": epsilon}, []
        case normalization.GroupNormalization(groups=groups, epsilon=epsilon):
            return "GroupNormalization", {"num_groups": groups, "epsilon": epsilon}, []
        case normalization.BatchNormalization(epsilon=epsilon):
            return "BatchNormalization", {"epsilon": epsilon}, []
        case normalization.LocalResponseNormalization() if op.size % 2:
            return "LRN", {"size": op.size, "alpha": op.alpha, "beta": op.beta, "bias": op.bias}, []
        case _:
            return None


def shape_node(op, case: Case) -> Node | None:
    match op:
        case shape.Transpose(permutation=permutation):
            return "Transpose", {"perm": permutation}, []
        case shape.Concatenation(axis=axis):
            return "Concat", {"axis": axis}, []
        case shape.Reshape(shape=target):
            return "Reshape", {"allowzero": 1}, [int64(*target)]
        case shape.Expand(shape=target):
            return "Expand", {}, [int64(*target)]
        case shape.Tile(repeats=repeats):
            return "Tile", {}, [int64(*repeats)]
        case shape.Slice():
            ends = [start + n * step for start, n, step in zip(op.starts, op.extents, op.steps, strict=True)]
            bottom = np.iinfo(np.int64).min
            ends = [end if end >= 0 else bottom for end in ends]
            return "Slice", {}, [int64(*op.starts), int64(*ends), int64(*range(len(ends))), int64(*op.steps)]
        case shape.Pad() if op.mode == "constant" or min(op.before + op.after) >= 0:
            pads = int64(*op.before, *op.after)
            value = np.asarray(op.value, dtype=case.inputs[0].type.dtype.numpy)
            return "Pad", {"mode": op.mode}, [pads, value] if op.mode == "constant" else [pads]
        case _:
            return None


def indexing_node(op) -> Node | None:
    match op:
        case indexing.Gather(axis=axis):
            return "Gather", {"axis": axis}, []
        case indexing.GatherElements(axis=axis):
            return "GatherElements", {"axis": axis}, []
        case indexing.GatherNd(batch_dims=batch):
            return "GatherND", {"batch_dims": batch}, []
        case indexing.TopKIndices():
            return "TopK", {"axis": op.axis, "largest": int(op.largest)}, [int64(op.k)]
        case indexing.OneHot():
            return "OneHot", {"axis": op.axis}, [np.asarray(op.depth, dtype=np.int64)]
        case indexing.Trilu():
            return "Trilu", {"upper": int(op.upper)}, [np.asarray(op.k, dtype=np.int64)]
        case indexing.ScatterElements():
            return "ScatterElements", {"axis": op.axis, "reduction": op.reduction}, []
        case indexing.ScatterNd():
            return "ScatterND", {"reduction": op.reduction}, []
        case _:
            return None


def resize_node(op, case: Case) -> Node | None:
    if not isinstance(op, Resize):
        return None
    attributes: dict[str, object] = {
        "mode": op.mode, "coordinate_transformation_mode": op.coordinate_transformation,
        "nearest_mode": op.nearest_mode, "cubic_coeff_a": op.cubic_a, "exclude_outside": int(op.exclude_outside),
        "extrapolation_value": op.extrapolation_value,
    }  # fmt: skip
    before = case.arrays(np.random.default_rng(0))[0].shape
    given = [size / n if s is None else s for n, s, size in zip(before, op.scales, op.shape, strict=True)]
    exact = tuple(int(n * s) for n, s in zip(before, given, strict=True)) == op.shape
    scales = np.asarray(given if exact else (), dtype=np.float32)
    sizes = [] if exact else [int64(*op.shape)]
    return "Resize", attributes, [np.asarray(op.roi, dtype=np.float32), scales, *sizes]


def node_of(case: Case) -> Node | None:
    op = case.op.specialised(case.symbols)
    if isinstance(op, MatMul):
        is_bytes = case.types[0].dtype.is_integer and case.types[0].dtype.size == 1
        if not op.transpose_a and not op.transpose_b:
            return ("MatMulInteger", {}, zero_points(case)) if is_bytes else ("MatMul", {}, [])
        if is_bytes:
            return None
        matrices = all(operand.type.rank == 2 for operand in case.inputs)
        return ("Gemm", {"transA": int(op.transpose_a), "transB": int(op.transpose_b)}, []) if matrices else None
    for node in (activation_node(op, case), reduction_node(op), normalization_node(op), indexing_node(op)):
        if node is not None:
            return node
    return window_node(op, case) or shape_node(op, case) or resize_node(op, case)


def zero_points(case: Case) -> list[Array]:
    """Those of a product of bytes, as they are judged."""
    left, right = (type.dtype for type in case.types)
    return [np.zeros((), left.numpy), np.asarray(UNSIGNED, np.uint8)] if right == INT8 else []


def model_of(node: Node, arrays: Sequence[Array]) -> onnx.ModelProto:
    """A model of one node, whose output is called y."""
    name, attributes, _ = node
    names = [f"x{number}" for number in range(len(arrays))]
    inputs = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in zip(names, arrays, strict=True)
    ]
    outputs = ["values", "y"] if name == "TopK" else ["y"]
    result = helper.make_tensor_value_info("y", TensorProto.UNDEFINED, None)
    graph = helper.make_graph([helper.make_node(name, names, outputs, **attributes)], "one node", inputs, [result])
    graph.output[0].ClearField("type")
    opset = 23 if name == "RMSNormalization" else 22
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def as_judged(name: str, number: int, array: Array) -> Array:
    """An input in a type that the judges have exact kernels for."""
    if (name, number, array.dtype) == ("MatMulInteger", 1, np.int8):
        return unsigned(array)
    if (name, number) in (("Gather", 1), ("OneHot", 0)):
        return array.astype(np.int64)
    return array.astype(np.float32) if array.dtype.kind not in "iub" or name == "Conv" else array


def judge(node: Node, arrays: Sequence[Array], by_onnx: bool) -> Array:
    """The output of a node on arrays."""
    feeds = [as_judged(node[0], number, array) for number, array in enumerate(arrays)]
    feeds = [feeds[0], *node[2], *feeds[1:]] if node[0] == "OneHot" else feeds + node[2]
    model = model_of(node, feeds)
    named = {f"x{number}": array for number, array in enumerate(feeds)}
    if by_onnx:
        return ReferenceEvaluator(model).run(None, named)[0]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(["y"], named)[0]


CASES = [case for case in collection.CASES if node_of(case) is not None]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_reference_agrees_with_the_judge(case: Case, rng: np.random.Generator):
    arrays = case.arrays(rng)
    judged = judge(node_of(case), arrays, by_onnx=repr(case) in BEYOND_ONNX_RUNTIME)
    assert_close(judged, case.expected(arrays), max(10 * case.tolerance, 1e-6))

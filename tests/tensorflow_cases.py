"""TensorFlow operators with inputs and attributes: what the importer is asked, and TensorFlow itself."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from tensorflow_graphs import GraphMaker
from tensorwright.tensor.dtype import BOOL, DTYPES, FLOAT32, INT32, INT64


@dataclass(frozen=True)
class Fed:
    """An input of the network, drawn at random."""

    shape: tuple[int, ...]
    low: float = -2.0
    high: float = 2.0
    dtype: str = "float32"

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        if self.dtype == "bool":
            return rng.integers(0, 2, self.shape).astype(bool)
        drawn = rng.uniform(self.low, self.high, self.shape)
        kind = DTYPES[self.dtype]
        return (drawn if kind.is_float else np.floor(drawn)).astype(kind.numpy)


@dataclass(frozen=True)
class Drawn(Fed):
    """A constant, drawn at random."""


@dataclass(frozen=True, eq=False)
class Case:
    """An operator; operands that are neither Fed nor Drawn are constants with these values."""

    name: str
    operator: str
    operands: tuple[object, ...]
    attributes: Mapping[str, object] = field(default_factory=dict)
    outputs: int = 1
    tolerance: float = 1e-5

    def build(self) -> tuple[GraphMaker, dict[str, np.ndarray], list[str]]:
        """The graph, its inputs, and the names of its outputs."""
        rng = np.random.default_rng(zlib.crc32(self.name.encode()))
        graph, inputs, names = GraphMaker(), {}, []
        for number, operand in enumerate(self.operands):
            if isinstance(operand, Drawn):
                names.append(graph.constant(operand.draw(rng)))
            elif isinstance(operand, Fed):
                name = graph.placeholder(operand.shape, f"x{number}", operand.dtype)
                inputs[name] = operand.draw(rng)
                names.append(name)
            else:
                names.append(graph.constant(operand))
        made = graph.add(self.operator, *names, name="y", **self.attributes)
        return graph, inputs, [made if number == 0 else f"{made}:{number}" for number in range(self.outputs)]


def case(
    operator: str, *operands: object, label: str = "", outputs: int = 1, tolerance: float = 1e-5, **attributes: object
) -> Case:
    name = f"{operator}-{label}" if label else operator
    return Case(name, operator, operands, attributes, outputs, tolerance)


A, B = Fed((2, 3, 4)), Fed((2, 3, 4))
ROW = Drawn((4,))
POSITIVE = Fed((2, 3, 4), 0.1, 3.0)
INTS = Fed((2, 3, 4), -9, 10, "int32")
NONZERO = Drawn((4,), 1, 6, "int32")
BOOLS = Fed((2, 3, 4), 0, 2, "bool")
IMAGE = Fed((2, 7, 6, 4))
PLANES = Fed((2, 4, 7, 6))

BINARY = (
    *(
        case(operator, A, ROW)
        for operator in (
            "Add",
            "AddV2",
            "Sub",
            "Mul",
            "Minimum",
            "Maximum",
            "SquaredDifference",
            "DivNoNan",
            "MulNoNan",
        )
    ),
    case("Div", A, Drawn((3, 1), 0.5, 2)),
    case("RealDiv", A, Drawn((3, 1), 0.5, 2)),
    case("Pow", POSITIVE, Drawn((4,), 0, 3)),
    case("Pow", A, np.float32(2), label="square-of-negative"),
    case("Pow", A, np.float32(3), label="cube-of-negative"),
    case("FloorDiv", A, Drawn((4,), 0.3, 1)),
    case("FloorDiv", INTS, NONZERO, label="integers"),
    case("FloorMod", INTS, NONZERO, label="integers"),
    case("FloorMod", A, Drawn((4,), 0.3, 1)),
    case("TruncateDiv", INTS, NONZERO),
    case("TruncateMod", INTS, NONZERO),
    case("Mod", INTS, NONZERO),
    case("Div", INTS, NONZERO, label="integers"),
    case("AddN", A, B, A, N=3),
    case("BiasAdd", IMAGE, ROW),
    case("BiasAdd", Fed((2, 4, 3, 5)), ROW, label="nchw", data_format="NCHW"),
    case("BiasAdd", Fed((3, 4)), ROW, label="matrix"),
    case("BiasAddV1", Fed((3, 4)), ROW),
    case("ClipByValue", A, np.float32(-1), np.float32(0.5)),
    case("LogicalAnd", BOOLS, Drawn((4,), 0, 2, "bool")),
    case("LogicalOr", BOOLS, Drawn((4,), 0, 2, "bool")),
    case("BitwiseAnd", INTS, NONZERO),
    case("BitwiseOr", INTS, NONZERO),
    case("BitwiseXor", INTS, NONZERO),
    case("LeftShift", Fed((2, 4), 0, 9, "int32"), NONZERO),
    case("RightShift", Fed((2, 4), 0, 99, "int32"), NONZERO),
)

UNARY = (
    *(
    case(operator, A)
    for operator in (
        "Neg", "Abs", "Sign", "Square", "Exp", "Expm1", "Sin", "Cos", "Tan", "Atan", "Sinh", "Cosh", "Asinh", "Floor",
        "Ceil", "Round", "Rint", "Erf", "Erfc", "IsNan", "IsInf", "IsFinite", "Relu", "Relu6", "Elu", "Selu", "Tanh",
        "Sigmoid", "Softplus", "Softsign", "Identity", "Snapshot", "StopGradient", "ZerosLike",
        "OnesLike", "Shape", "Size", "Rank", "PreventGradient",
    )
    ),
    *(
    case(operator, POSITIVE) for operator in ("Sqrt", "Rsqrt", "Reciprocal", "Inv", "Log", "Log1p")
    ),
    *(
    case(operator, Fed((2, 3), -0.9, 0.9)) for operator in ("Asin", "Acos", "Atanh")
    ),
    case("Acosh", Fed((2, 3), 1.1, 4)),
    case("Softmax", Fed((3, 5))),
    case("Softmax", A, label="rank-3"),
    case("LogSoftmax", Fed((3, 5))),
    case("LeakyRelu", A),
    case("LeakyRelu", A, label="alpha", alpha=0.05),
    case("LogicalNot", BOOLS),
    case("Invert", INTS),
    case("Relu", INTS, label="integers"),
    case("CheckNumerics", A, message="finite"),
    case("Cast", A, label="to-int", SrcT=FLOAT32, DstT=INT32),
    case("Cast", INTS, label="to-float", SrcT=INT32, DstT=FLOAT32),
    case("Cast", INTS, label="to-bool", SrcT=INT32, DstT=BOOL),
    case("Cast", A, label="to-half", SrcT=FLOAT32, DstT=DTYPES["float16"], tolerance=1e-3),
    case("FakeQuantWithMinMaxArgs", Fed((4, 6), -9, 9)),
    case("FakeQuantWithMinMaxArgs", Fed((4, 6), -9, 9), label="narrow", min=-3.0, max=5.0, num_bits=4,
         narrow_range=True),
    case("FakeQuantWithMinMaxVars", Fed((4, 6), -3, 3), np.float32(-1.3), np.float32(2.1)),
)  # fmt: skip

COMPARISONS = (
    *(
        case(operator, Fed((2, 3, 4), 0, 3, "int32"), Drawn((4,), 0, 3, "int32"))
        for operator in ("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual")
    ),
    case("Greater", A, ROW, label="floats"),
    case("Equal", BOOLS, Drawn((4,), 0, 2, "bool"), label="bools"),
    case("Select", BOOLS, A, B),
    case("Select", Fed((2,), 0, 2, "bool"), A, B, label="rows"),
    case("SelectV2", Fed((3, 1), 0, 2, "bool"), A, ROW),
)


def conv(
    label: str, x: Fed, kernel: tuple[int, ...], operator: str = "Conv2D", padding: str = "SAME", **attributes: object
) -> Case:
    attributes.setdefault("strides", [1, 1, 1, 1])
    return case(operator, x, Drawn(kernel), label=label, padding=padding, tolerance=3e-5, **attributes)


def deconv(
    label: str,
    sizes: list[int],
    x: Fed,
    kernel: tuple[int, ...],
    operator: str = "Conv2DBackpropInput",
    **attributes: object,
) -> Case:
    return case(operator, sizes, Drawn(kernel), x, label=label, tolerance=3e-5, **attributes)


CONVOLUTIONS = (
    conv("same", IMAGE, (3, 3, 4, 5)),
    conv("same-even-kernel", IMAGE, (2, 4, 4, 5)),
    conv("same-strided", IMAGE, (3, 2, 4, 5), strides=[1, 2, 2, 1]),
    conv("same-stride-beyond-kernel", IMAGE, (1, 1, 4, 5), strides=[1, 2, 3, 1]),
    conv("same-dilated", IMAGE, (3, 3, 4, 2), dilations=[1, 2, 2, 1]),
    conv("valid", IMAGE, (3, 2, 4, 5), padding="VALID"),
    conv("valid-strided", IMAGE, (3, 3, 4, 5), padding="VALID", strides=[1, 2, 1, 1]),
    conv("valid-dilated", IMAGE, (2, 3, 4, 2), padding="VALID", dilations=[1, 3, 2, 1]),
    conv("explicit", IMAGE, (3, 3, 4, 5), padding="EXPLICIT", explicit_paddings=[0, 0, 2, 1, 0, 3, 0, 0]),
    conv("depthwise", IMAGE, (3, 3, 4, 1), "DepthwiseConv2dNative"),
    conv("depthwise-multiplier", IMAGE, (3, 2, 4, 3), "DepthwiseConv2dNative", strides=[1, 2, 2, 1]),
    conv("depthwise-dilated", IMAGE, (3, 3, 4, 2), "DepthwiseConv2dNative", padding="VALID", dilations=[1, 2, 2, 1]),
    conv("3d", Fed((1, 4, 5, 6, 3)), (2, 3, 3, 3, 4), "Conv3D", strides=[1, 1, 2, 2, 1]),
    deconv("same", [2, 14, 12, 3], IMAGE, (3, 3, 3, 4), strides=[1, 2, 2, 1], padding="SAME"),
    deconv("same-odd", [2, 13, 11, 3], IMAGE, (4, 3, 3, 4), strides=[1, 2, 2, 1], padding="SAME"),
    deconv("valid", [2, 15, 13, 3], IMAGE, (3, 3, 3, 4), strides=[1, 2, 2, 1], padding="VALID"),
    deconv("valid-beyond", [2, 16, 14, 3], IMAGE, (3, 3, 3, 4), strides=[1, 2, 2, 1], padding="VALID"),
    deconv("one-stride", [2, 7, 6, 3], IMAGE, (3, 3, 3, 4), strides=[1, 1, 1, 1], padding="SAME"),
    deconv("spatial-sizes", [14, 12], IMAGE, (3, 3, 3, 4), strides=[1, 2, 2, 1], padding="SAME"),
    deconv(
        "depthwise", [2, 14, 12, 2], Fed((2, 7, 6, 4)), (3, 3, 2, 2), "DepthwiseConv2dNativeBackpropInput",
        strides=[1, 2, 2, 1], padding="SAME",
    ),
    deconv(
        "3d", [1, 4, 6, 6, 2], Fed((1, 2, 3, 3, 3)), (2, 3, 3, 2, 3), "Conv3DBackpropInputV2",
        strides=[1, 2, 2, 2, 1], padding="SAME",
    ),
)  # fmt: skip


def pool(operator: str, label: str, x: Fed = IMAGE, padding: str = "SAME", **attributes: object) -> Case:
    return case(operator, x, label=label, padding=padding, **attributes)


POOLING = (
    *(
    pool(operator, label, padding=padding, ksize=ksize, strides=strides)
    for operator in ("MaxPool", "AvgPool")
    for label, padding, ksize, strides in (
        ("same", "SAME", [1, 3, 3, 1], [1, 2, 2, 1]),
        ("same-even", "SAME", [1, 2, 4, 1], [1, 1, 1, 1]),
        ("valid", "VALID", [1, 2, 3, 1], [1, 2, 2, 1]),
    )
    ),
    pool("MaxPool", "explicit", padding="EXPLICIT", ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1],
         explicit_paddings=[0, 0, 1, 0, 2, 1, 0, 0]),
    case("MaxPoolV2", IMAGE, [1, 2, 2, 1], [1, 2, 2, 1], padding="VALID"),
    case("MaxPoolWithArgmax", IMAGE, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID"),
    pool("MaxPool3D", "", Fed((1, 4, 5, 6, 3)), ksize=[1, 2, 3, 2, 1], strides=[1, 2, 2, 2, 1]),
    pool("AvgPool3D", "", Fed((1, 4, 5, 6, 3)), ksize=[1, 2, 3, 2, 1], strides=[1, 2, 2, 2, 1]),
)  # fmt: skip

PARAMETERS = (Drawn((4,)), Drawn((4,)), Drawn((4,)), Drawn((4,), 0.2, 2))
NORMALIZATION = (
    *(
    case(operator, IMAGE, *PARAMETERS, is_training=False, epsilon=0.01, tolerance=3e-5)
    for operator in ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
    ),
    case("FusedBatchNormV3", IMAGE, *PARAMETERS, label="default-epsilon", is_training=False, tolerance=3e-5),
    case("FusedBatchNormV3", IMAGE, *PARAMETERS[:2], np.zeros(0, np.float32), np.zeros(0, np.float32),
         label="training", is_training=True, epsilon=0.01, tolerance=3e-5),
    case("BatchNormWithGlobalNormalization", IMAGE, Drawn((4,)), Drawn((4,), 0.2, 2), Drawn((4,)), Drawn((4,)),
         variance_epsilon=0.001, scale_after_normalization=True),
    case("LRN", Fed((1, 3, 4, 9))),
    case("LRN", Fed((1, 3, 4, 9)), label="parameters", depth_radius=2, bias=2.0, alpha=0.3, beta=0.75),
)  # fmt: skip

MATMUL = (
    case("MatMul", Fed((3, 4)), Drawn((4, 5))),
    case("MatMul", Fed((4, 3)), Drawn((5, 4)), label="transposed", transpose_a=True, transpose_b=True),
    case("BatchMatMul", Fed((2, 3, 4)), Fed((2, 4, 5))),
    case("BatchMatMulV2", Fed((2, 1, 3, 4)), Fed((5, 4, 2)), label="broadcast"),
    case("BatchMatMulV2", Fed((2, 4, 3)), Fed((2, 5, 4)), label="adjoint", adj_x=True, adj_y=True),
    case("Einsum", Fed((2, 3, 4)), Drawn((4, 2, 5)), label="heads", equation="abc,cde->abde", N=2),
    case("Einsum", Fed((2, 3, 4)), Fed((2, 5, 4)), label="scores", equation="bqd,bkd->bqk", N=2),
    case("Einsum", Fed((2, 3, 4)), Drawn((4, 5)), label="dots", equation="...c,cd->...d", N=2),
    case("BatchMatMulV3", Fed((2, 3, 4)), Fed((2, 4, 5)), Tout=FLOAT32),
)

REDUCTIONS = (
    *(
        case(operator, POSITIVE, axes, label=f"{label}-{'keep' if keep else 'drop'}", keep_dims=keep)
        for operator in ("Sum", "Mean", "Prod", "Max", "Min", "EuclideanNorm")
        for label, axes in (("one", [1]), ("two", [0, -1]))
        for keep in (False, True)
    ),
    case("Mean", A, np.int32(-1), label="scalar-axis"),
    case("Sum", INTS, [0], label="integers"),
    case("Mean", A, np.zeros(0, np.int32), label="no-axis"),
    case("All", BOOLS, [1]),
    case("Any", BOOLS, [0, 2], keep_dims=True),
    case("ArgMax", A, np.int32(1)),
    case("ArgMax", A, np.int32(-1), label="int32", output_type=INT32),
    case("ArgMin", A, np.int32(0)),
    case("Cumsum", A, np.int32(1)),
    case("Cumsum", A, np.int32(-1), label="exclusive-reverse", exclusive=True, reverse=True),
    case("TopKV2", Fed((3, 9)), np.int32(4), outputs=2),
    case("TopK", Fed((3, 9)), k=2, outputs=2),
)

SHAPES = (
    case("Reshape", A, [4, -1]),
    case("Reshape", A, [-1], label="flat"),
    case("Squeeze", Fed((1, 3, 1, 2)), label="all"),
    case("Squeeze", Fed((1, 3, 1, 2)), label="one", squeeze_dims=[2]),
    case("Squeeze", Fed((1, 3, 1, 2)), label="negative", squeeze_dims=[-4]),
    case("ExpandDims", A, np.int32(1)),
    case("ExpandDims", A, np.int32(-1), label="last"),
    case("Transpose", A, [2, 0, 1]),
    case("ConcatV2", A, Fed((2, 1, 4)), np.int32(1), N=2),
    case("ConcatV2", A, B, np.int32(-1), label="last", N=2),
    case("Concat", np.int32(0), A, B, N=2),
    case("Pack", A, B),
    case("Pack", A, B, label="last", axis=-1),
    case("Unpack", A, outputs=3, num=3, axis=1),
    case("Split", np.int32(2), A, outputs=2, num_split=2),
    case("SplitV", A, [1, -1], np.int32(1), outputs=2, num_split=2),
    case("Slice", A, [0, 1, 1], [2, -1, 2]),
    case("StridedSlice", A, [0, 1], [2, 3], [1, 1]),
    case("StridedSlice", A, [0, -1, 3], [0, -4, 0], [1, -1, -2], label="negative", begin_mask=1, end_mask=1),
    case("StridedSlice", A, [1, 0], [2, 0], [1, 1], label="shrink", shrink_axis_mask=1, end_mask=2),
    case("StridedSlice", A, [0, 2], [0, 3], [1, 1], label="ellipsis", ellipsis_mask=1, shrink_axis_mask=2),
    case("StridedSlice", A, [0, 0, 1], [0, 0, 3], [1, 1, 1], label="new-axis", new_axis_mask=1, ellipsis_mask=2),
    case("StridedSlice", A, [0, 9, -9], [9, 99, 99], [1, 1, 2], label="clamped", begin_mask=0),
    case("Tile", A, [1, 2, 3]),
    case("BroadcastTo", Fed((3, 1)), [2, 3, 4]),
    case("Pad", A, [[0, 1], [2, 0], [1, 1]]),
    case("PadV2", A, [[0, 1], [2, 0], [1, 1]], np.float32(-7)),
    case("MirrorPad", A, [[0, 0], [2, 1], [0, 3]], label="reflect", mode="REFLECT"),
    case("MirrorPad", A, [[0, 0], [3, 1], [0, 4]], label="symmetric", mode="SYMMETRIC"),
    case("ReverseV2", A, [0, 2]),
    case("SpaceToBatchND", IMAGE, [2, 3], [[1, 0], [0, 0]]),
    case("BatchToSpaceND", Fed((12, 2, 3, 4)), [2, 3], [[1, 0], [0, 2]]),
    case("SpaceToDepth", Fed((2, 4, 6, 3)), block_size=2),
    case("DepthToSpace", Fed((2, 2, 3, 12)), block_size=2),
    case("ShapeN", A, Fed((5,)), outputs=2, N=2),
    case("Fill", [2, 3], Fed((), 0, 1)),
    case("Range", np.int32(2), np.int32(9), np.int32(3)),
    case("Range", np.float32(1), np.float32(-1), np.float32(-0.5), label="floats"),
    case("IdentityN", A, Fed((5,)), outputs=2),
    case("Size", A, label="int64", out_type=INT64),
)

INDEXING = (
    case("Gather", A, Drawn((3, 2), 0, 2, "int32")),
    case("GatherV2", A, Drawn((3, 2), 0, 4, "int32"), np.int32(2)),
    case("GatherV2", A, Fed((2, 5), 0, 3, "int32"), np.int32(1), label="batch", batch_dims=1),
    case("GatherNd", A, Fed((5, 2), 0, 2, "int32")),
    case("OneHot", Fed((2, 3), -1, 5, "int32"), np.int32(4), np.float32(2), np.float32(-1)),
    case("OneHot", Fed((2, 3), 0, 4, "int32"), np.int32(4), np.float32(1), np.float32(0), label="axis", axis=1),
    case("MatrixBandPart", Fed((2, 5, 6)), np.int32(1), np.int32(2)),
    case("MatrixBandPart", Fed((2, 5, 6)), np.int32(-1), np.int32(0), label="lower"),
    case("ScatterNd", [[1], [3], [1]], Fed((3, 2)), [4, 2]),
    case("TensorScatterUpdate", Fed((4, 2)), [[1], [3]], Fed((2, 2))),
    case("TensorScatterAdd", Fed((4, 2)), [[1], [1]], Fed((2, 2))),
)

RESIZING = tuple(
    case(operator, Fed((2, 4, 5, 3)), [rows, columns], label=f"{label}-{rows}x{columns}", tolerance=tolerance, **modes)
    for operator, tolerance in (("ResizeBilinear", 1e-5), ("ResizeNearestNeighbor", 1e-5), ("ResizeBicubic", 3e-3))
    for label, modes in (("legacy", {}), ("corners", {"align_corners": True}), ("half", {"half_pixel_centers": True}))
    for rows, columns in ((8, 10), (7, 3), (4, 12))
)

CASES: tuple[Case, ...] = (
    *BINARY, *UNARY, *COMPARISONS, *CONVOLUTIONS, *POOLING, *NORMALIZATION, *MATMUL, *REDUCTIONS, *SHAPES, *INDEXING,
    *RESIZING,
)  # fmt: skip

REMOVED = frozenset({"BatchNormWithGlobalNormalization", "TopK"})
"""Operators of old graphs that today's TensorFlow refuses."""

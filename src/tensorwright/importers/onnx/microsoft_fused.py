"""Operators into which ONNX Runtime's optimisers fuse others (domain com.microsoft), taken apart again.

Their meaning: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import counting
from tensorwright.importers.onnx import convolution, matmul, normalization
from tensorwright.importers.onnx.convolution import Ints
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.ops import activation
from tensorwright.ops.indexing import Gather
from tensorwright.ops.normalization import Softmax
from tensorwright.tensor.dtype import INT32

DOMAIN = "com.microsoft"
Floats = tuple[float, ...]


def Gelu(node: Node, x: Value) -> Value:
    return node.apply(activation.Gelu(False), x)


def BiasGelu(node: Node, x: Value, bias: Value) -> Value:
    return node.apply(activation.Gelu(False), node.add(x, bias))


def FastGelu(node: Node, x: Value, bias: Value | None = None) -> Value:
    return node.apply(activation.Gelu(True), x if bias is None else node.add(x, bias))


def QuickGelu(node: Node, x: Value, *, alpha: float = 1.702) -> Value:
    return node.multiply(x, node.apply(activation.Sigmoid(), node.multiply(x, node.scalar(alpha, x))))


def BiasSoftmax(node: Node, x: Value, bias: Value, *, axis: int = 1, is_inner_broadcast: int) -> Value:
    if not is_inner_broadcast or node.axis(axis, x.type.rank) != x.type.rank - 1:
        node.unsupported("a bias broadcast over outer axes, or a softmax over several axes")
    return node.apply(Softmax(x.type.rank - 1), node.add(x, bias))


def FusedMatMul(
    node: Node,
    a: Value,
    b: Value,
    *,
    alpha: float = 1.0,
    transA: int = 0,
    transB: int = 0,
    transBatchA: int = 0,
    transBatchB: int = 0,
) -> Value:
    if transBatchA or transBatchB:
        node.unsupported("transposed batches")
    left, right = (_transposed(node, value) if yes else value for value, yes in ((a, transA), (b, transB)))
    result = matmul.MatMul(node, left, right)
    return result if alpha == 1.0 else node.multiply(result, node.scalar(alpha, result))


def TransposeMatMul(node: Node, a: Value, b: Value, *, alpha: float = 1.0, transA: int = 0, transB: int = 0) -> Value:
    return FusedMatMul(node, a, b, alpha=alpha, transA=transA, transB=transB)


def FusedGemm(
    node: Node,
    a: Value,
    b: Value,
    c: Value | None = None,
    *,
    activation: str = "",
    activation_alpha: float = 0.0,
    activation_beta: float = 0.0,
    activation_gamma: float = 0.0,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Value:
    result = matmul.Gemm(node, a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    return _activated(node, result, activation, (activation_alpha, activation_beta))


def FusedConv(
    node: Node,
    x: Value,
    w: Value,
    b: Value | None = None,
    z: Value | None = None,
    *,
    activation: str = "",
    activation_params: Floats = (),
    auto_pad: str = "NOTSET",
    dilations: Ints | None = None,
    group: int = 1,
    kernel_shape: Ints | None = None,
    pads: Ints | None = None,
    strides: Ints | None = None,
) -> Value:
    """``activation(conv(x, w) + b + z)``"""
    result = convolution.Conv(
        node, x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads,
        strides=strides,
    )  # fmt: skip
    return _activated(node, result if z is None else node.add(result, z), activation, activation_params)


def SkipLayerNormalization(
    node: Node,
    x: Value,
    skip: Value,
    gamma: Value,
    beta: Value | None = None,
    bias: Value | None = None,
    *,
    epsilon: float = 1e-12,
) -> list[Term]:
    """The normalised sum; output 3 is the sum itself. Mean and deviation are outputs of training."""
    total = _sum(node, x, skip, bias)
    (result,) = normalization.LayerNormalization(_plain(node), total, gamma, beta, epsilon=epsilon)
    return [result, None, None, total]


def SkipSimplifiedLayerNormalization(
    node: Node, x: Value, skip: Value, gamma: Value, bias: Value | None = None, *, epsilon: float = 1e-6
) -> list[Term]:
    total = _sum(node, x, skip, bias)
    return [normalization.RMSNormalization(node, total, gamma, epsilon=epsilon), None, None, total]


def EmbedLayerNormalization(
    node: Node,
    ids: Value,
    segments: Value | None,
    words: Value,
    places: Value,
    kinds: Value | None,
    gamma: Value,
    beta: Value,
    mask: Value | None = None,
    positions: Value | None = None,
    *,
    epsilon: float = 1e-12,
    mask_index_type: int = 1,
) -> list[Term]:
    """The normalised sum of the embeddings of words, positions and segments; how long each sequence is; the sum."""
    batch, length = ids.type.shape
    own = node.reshape(counting(node, length), (1, length)) if positions is None else positions
    total = node.add(node.apply(Gather(0), words, ids), node.apply(Gather(0), places, own))
    if segments is not None and kinds is not None:
        total = node.add(total, node.apply(Gather(0), kinds, segments))
    (result,) = normalization.LayerNormalization(_plain(node), total, gamma, beta, epsilon=epsilon)
    if mask is None:
        lengths = node.expand(node.constant(0, INT32), (batch,))
    else:
        lengths = node.reduce("add", node.cast(mask, INT32), (1,), False)
    return [result, lengths, total]


def _plain(node: Node) -> Node:
    """The node, asking for its first output only."""
    return Node(node.name, node.operator, node.domain, node.version, (True,), node.open_ended, node.translate)


def _sum(node: Node, x: Value, skip: Value, bias: Value | None) -> Value:
    total = node.add(x, skip)
    return total if bias is None else node.add(total, bias)


def _transposed(node: Node, x: Value) -> Value:
    rank = x.type.rank
    return x if rank < 2 else node.transpose(x, (*range(rank - 2), rank - 1, rank - 2))


def _activated(node: Node, x: Value, name: str, parameters: Sequence[float]) -> Value:
    if not name:
        return x
    if name not in ACTIVATIONS:
        node.unsupported(f"activation {name}")
    return ACTIVATIONS[name](node, x, [*parameters, 0.0, 0.0])


ACTIVATIONS: Mapping[str, Callable[[Node, Value, Sequence[float]], Value]] = {
    "Relu": lambda node, x, _: node.apply(activation.Relu(), x),
    "Tanh": lambda node, x, _: node.unary("tanh", x),
    "Sigmoid": lambda node, x, _: node.apply(activation.Sigmoid(), x),
    "LeakyRelu": lambda node, x, given: node.apply(activation.LeakyRelu(given[0]), x),
    "Clip": lambda node, x, given: node.apply(activation.Clip(given[0], given[1]), x),
    "HardSigmoid": lambda node, x, given: node.apply(activation.HardSigmoid(given[0], given[1]), x),
}

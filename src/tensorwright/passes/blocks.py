"""Products by weights of a few bits: kept where few rows meet them, which are bound by reading weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import gcd

import numpy as np
import numpy.typing as npt

from tensorwright.graph.graph import Value, apply, constant_value
from tensorwright.graph.op import Array
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.ops.matmul import MatMul
from tensorwright.ops.quantization import Dequantize
from tensorwright.passes.fold import known_array
from tensorwright.passes.rewrite import rewrite, rules_pass
from tensorwright.tensor.dim import product, tuning_value
from tensorwright.tensor.dtype import FLOAT32
from tensorwright.tensor.type import TensorType
from tensorwright.tensor.weights import Weights, weights_of

Integers = npt.NDArray[np.int64]

WORD = 32
"""Kernels read whole words of so many bits."""
FEW = 16
"""So many rows of activations, or fewer: their products wait for the weights, or nearly so."""


@rewrite(BlockMatMul)
def widened_product(value: Value) -> Value | None:
    """``BlockMatMul(a, q, s, z) = MatMul(a, (q − z) · s)`` for constants q, s and z."""
    return _product_by_floats(value)


@rewrite(BlockMatMul)
def widened_product_of_many_rows(value: Value) -> Value | None:
    """The same where many rows are expected."""
    return None if _has_few(value) else _product_by_floats(value)


@rewrite(MatMul)
def product_by_blocks(value: Value) -> Value | None:
    """``MatMul(a, Dequantize(q, s, z)) = BlockMatMul(a, q', s', z')`` for constants q, s and z, where few rows are
    expected: q' has as few bits as hold the numbers.
    """
    assert isinstance(value.op, MatMul)
    a, weights = value.inputs
    if value.op.transpose_a or not isinstance(weights.op, Dequantize) or weights.type.rank != 2 or not _has_few(value):
        return None
    arrays = [known_array(one) for one in weights.inputs]
    known = [one for one in arrays if one is not None]
    if len(known) < len(arrays) or a.type.dtype != FLOAT32 or not isinstance(a.type.shape[-1], int):
        return None
    shape = weights.type.tuning_shape
    parts = [np.broadcast_to(one, shape) for one in (*known, np.zeros(1, np.int64))]
    q, scale, zero = (parts if value.op.transpose_b else [part.T for part in parts])[:3]
    made = blocks_of(q, scale, zero)
    if made is None:
        return None
    constants = [constant_value(weights_of(one), weights.name) for one in made.constants]
    return apply(made.op, a, *constants, name=value.name)


@dataclass(frozen=True)
class Blocks:
    """An operator with the constants that it takes."""

    op: BlockMatMul
    constants: tuple[Array, ...]


def blocks_of(q: Array, scale: Array, zero: Array) -> Blocks | None:
    """Weights ``(q − zero) · scale``, all ``[N, K]``, in blocks; None if they cannot be in any that kernels take."""
    whole, middle = np.asarray(q, np.int64), np.asarray(zero, np.int64)
    depth = whole.shape[1]
    edges = np.flatnonzero(((scale[:, 1:] != scale[:, :-1]) | (middle[:, 1:] != middle[:, :-1])).any(0)) + 1
    block = gcd(*edges.tolist()) if len(edges) else depth
    for bits in (4, 8):
        op, per_word = BlockMatMul(bits, block), WORD // bits
        if depth % per_word or (block % per_word and block < depth):
            continue
        lowest = min(int(whole.min()), int(middle.min()))
        low = int(middle[0, 0]) - op.middle if np.all(middle == middle[0, 0]) else lowest
        for start in (low, lowest):
            if not _fits(whole - start, bits) or not _fits(middle - start, bits):
                continue
            zeros = (middle - start)[:, ::block].astype(np.uint8)
            further = () if np.all(zeros == op.middle) else (np.ascontiguousarray(zeros),)
            scales = np.ascontiguousarray(scale[:, ::block], np.float32)
            return Blocks(op, (_packed(whole - start, op), scales, *further))
    return None


def _fits(numbers: Integers, bits: int) -> bool:
    return numbers.size > 0 and int(numbers.min()) >= 0 and int(numbers.max()) < 1 << bits


def _packed(numbers: Integers, op: BlockMatMul) -> Array:
    """Numbers ``[N, K]`` side by side in bytes."""
    parts = numbers.astype(np.uint8).reshape(len(numbers), -1, op.per_byte)
    shifts = np.arange(op.per_byte, dtype=np.uint8) * np.uint8(op.bits)
    return np.asarray(np.bitwise_or.reduce(parts << shifts, axis=2), np.uint8)


def _has_few(value: Value) -> bool:
    """Whether few rows are expected."""
    return tuning_value(product(value.type.shape[:-1])) <= FEW


def _product_by_floats(value: Value) -> Value | None:
    op, (a, *constants) = value.op, value.inputs
    assert isinstance(op, BlockMatMul)
    arrays = [known_array(one) for one in constants]
    known = [one for one in arrays if one is not None]
    depth = a.type.shape[-1]
    if len(known) < len(arrays) or not isinstance(depth, int):
        return None
    kind = TensorType(FLOAT32, (depth, constants[0].type.shape[0]))
    weights = constant_value(Weights(kind, partial(_widened, op, known)), constants[0].name)
    return apply(MatMul(), a, weights, name=value.name)


def _widened(op: BlockMatMul, constants: list[Array]) -> Array:
    return np.ascontiguousarray(op.weights(*constants).T.astype(np.float32))


widened_products = rules_pass("widened_products", [widened_product])
weights_in_blocks = rules_pass("weights_in_blocks", [product_by_blocks, widened_product_of_many_rows])

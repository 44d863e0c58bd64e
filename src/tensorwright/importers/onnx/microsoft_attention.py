"""Attention as ONNX Runtime's optimisers and exporters write it (domain com.microsoft), taken apart again.

Their meaning: https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md
Letters: B batch, N heads, S queries, T keys, D elements per head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from tensorwright.graph.graph import Value
from tensorwright.importers.compose import counting, iota, joined, part, stacked
from tensorwright.importers.contents import contents_of
from tensorwright.importers.onnx.matmul import MatMul
from tensorwright.importers.onnx.node import Node, Term
from tensorwright.ops.cache import CacheUpdate
from tensorwright.ops.indexing import Gather
from tensorwright.ops.normalization import Softmax
from tensorwright.tensor.dim import Dim, bounds, floor_divide
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.equations import require_equal

DOMAIN = "com.microsoft"
FORBIDDEN = -10000.0
"""What is added to forbidden scores unless a node says otherwise."""


def Attention(
    node: Node,
    x: Value,
    weights: Value,
    bias: Value | None = None,
    mask: Value | None = None,
    past: Value | None = None,
    attention_bias: Value | None = None,
    past_length: Value | None = None,
    *,
    do_rotary: int = 0,
    mask_filter_value: float = FORBIDDEN,
    num_heads: int,
    past_present_share_buffer: int = 0,
    qkv_hidden_sizes: tuple[int, ...] | None = None,
    rotary_embedding_dim: int = 0,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> list[Term]:
    """``x [B, S, H]``, one matrix of weights for queries, keys and values; past and present ``[2, B, N, T, D]``."""
    if do_rotary or past_length is not None:
        node.unsupported("rotary embeddings, or a past that shares memory with the present")
    total = node.static(weights.type.shape[1:], "the width of the weights")[0]
    sizes = qkv_hidden_sizes or (total // 3,) * 3
    projected = MatMul(node, x, weights)
    if bias is not None:
        projected = node.add(projected, bias)
    starts = (0, sizes[0], sizes[0] + sizes[1])
    parts = [part(node, projected, {2: (start, size)}) for start, size in zip(starts, sizes, strict=True)]
    query, key, value = (_heads(node, piece, num_heads) for piece in parts)
    if past is not None:
        halves = [node.reshape(part(node, past, {0: (n, 1)}), past.type.shape[1:]) for n in range(2)]
        key, value = (joined(node, [old, new], 2) for old, new in zip(halves, (key, value), strict=True))
    heads = Heads(node, query, key, value)
    masks = [heads.padding(mask, mask_filter_value), attention_bias, heads.causal(mask_filter_value, unidirectional)]
    present = stacked(node, [key, value], 0) if node.wants(1) else None
    return [heads.attend(scale, masks), present]


def MultiHeadAttention(
    node: Node,
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    bias: Value | None = None,
    mask: Value | None = None,
    attention_bias: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    *,
    mask_filter_value: float = FORBIDDEN,
    num_heads: int,
    scale: float = 0.0,
    unidirectional: int = 0,
) -> list[Term]:
    """Queries ``[B, S, H]``; keys and values likewise, or ``[B, N, T, D]``, or all three packed in the queries."""
    if key is None:
        query, key, value = _unpacked(node, query)
    if value is None:
        key, value = _unpacked(node, key)
    given = [query, key, value]
    if bias is not None:
        widths = [node.static([_width(piece)], "the width of a head")[0] for piece in given]
        starts = (0, widths[0], widths[0] + widths[1])
        own = [part(node, bias, {0: (start, width)}) for start, width in zip(starts, widths, strict=True)]
        given = [_biased(node, piece, shift) for piece, shift in zip(given, own, strict=True)]
    query, key, value = (piece if piece.type.rank == 4 else _heads(node, piece, num_heads) for piece in given)
    if past_key is not None and past_value is not None:
        key, value = joined(node, [past_key, key], 2), joined(node, [past_value, value], 2)
    heads = Heads(node, query, key, value)
    masks = [heads.padding(mask, mask_filter_value), attention_bias, heads.causal(mask_filter_value, unidirectional)]
    return [heads.attend(scale, masks), key, value]


def GroupQueryAttention(
    node: Node,
    query: Value,
    key: Value | None = None,
    value: Value | None = None,
    past_key: Value | None = None,
    past_value: Value | None = None,
    lengths: Value | None = None,
    total_length: Value | None = None,
    cosines: Value | None = None,
    sines: Value | None = None,
    positions: Value | None = None,
    attention_bias: Value | None = None,
    sinks: Value | None = None,
    *,
    do_rotary: int = 0,
    kv_num_heads: int,
    local_window_size: int = -1,
    num_heads: int,
    rotary_interleaved: int = 0,
    scale: float = 0.0,
    smooth_softmax: int = 0,
    softcap: float = 0.0,
) -> list[Term]:
    """Causal attention with fewer heads of keys than of queries; `lengths` are the total ones, minus one.

    The present is the past with the new keys behind it or, where the past always has room for all, among its rows.
    A softmax is smooth if each head has one more score, 0 or that of `sinks [N]`, which no value belongs to.
    """
    if lengths is None:
        node.unsupported("no lengths")
    counts = num_heads, kv_num_heads, kv_num_heads
    pieces = _parted(node, query, counts) if key is None or value is None else [query, key, value]
    q, k, v = (_heads(node, piece, count) for piece, count in zip(pieces, counts, strict=True))
    batch, length = query.type.shape[:2]
    ends = node.reshape(node.cast(lengths, INT64), (batch, 1))
    first = node.binary("max", node.subtract(ends, node.shape_scalar(length - 1)), node.constant(0, INT64))
    places = node.add(first, node.reshape(counting(node, length), (1, length))) if positions is None else positions
    if do_rotary and cosines is not None and sines is not None:
        given = (places, cosines, sines, bool(rotary_interleaved))
        q, k = _rotated(node, q, *given), _rotated(node, k, *given)
    seen = k, v
    if past_key is not None and past_value is not None:
        total = None if total_length is None else _total(total_length)
        k, v = (_continued(node, *pair, first, total) for pair in ((past_key, k), (past_value, v)))
        seen = (k, v) if total is None else (part(node, k, {2: (0, total)}), part(node, v, {2: (0, total)}))
    repeated = [_repeated(node, piece, num_heads // kv_num_heads) for piece in seen]
    heads = Heads(node, q, *repeated)
    masks = [attention_bias, heads.window(node.add(first, iota(node, length, 1, 2)), local_window_size)]
    if sinks is None and smooth_softmax > 0:
        sinks = node.expand(node.scalar(0, q), (num_heads,))
    return [heads.attend(scale, masks, softcap, sinks), k, v]


def RotaryEmbedding(
    node: Node,
    x: Value,
    positions: Value,
    cosines: Value,
    sines: Value,
    *,
    interleaved: int = 0,
    is_packed_batching: int = 0,
    num_heads: int = 0,
    rotary_embedding_dim: int = 0,
    scale: float = 1.0,
) -> Value:
    """``x [B, N, S, D]`` or ``[B, S, N · D]``; one position for each of ``[B, S]``, or the first one."""
    if is_packed_batching or scale != 1.0:
        node.unsupported("packed batches, or a scale")
    if x.type.rank == 3:
        width = node.static(x.type.shape[2:], "the width of RotaryEmbedding")[0]
        own = num_heads or width // (2 * node.static(cosines.type.shape[1:], "the width of the cosines")[0])
        return _merged(
            node, RotaryEmbedding(node, _heads(node, x, own), positions, cosines, sines, interleaved=interleaved)
        )
    batch, length = x.type.shape[0], x.type.shape[2]
    if positions.type.rank == 1:
        shifted = node.add(node.reshape(positions, (1, 1)), node.reshape(counting(node, length), (1, length)))
        positions = node.expand(shifted, (batch, length))
    return _rotated(node, x, positions, cosines, sines, bool(interleaved))


@dataclass(frozen=True)
class Heads:
    """Queries ``[B, N, S, D]``, keys ``[B, N, T, D]`` and values ``[B, N, T, D']``."""

    node: Node
    query: Value
    key: Value
    value: Value

    @property
    def queries(self) -> Dim:
        return self.query.type.shape[2]

    @property
    def keys(self) -> Dim:
        return self.key.type.shape[2]

    def attend(
        self, scale: float, masks: Sequence[Value | None], softcap: float = 0.0, sinks: Value | None = None
    ) -> Value:
        """``[B, S, N · D']``; scores are divided by the root of D without a scale; `sinks [N]` score nothing."""
        node = self.node
        width = node.static(self.query.type.shape[3:], "the width of a head")[0]
        scores = MatMul(node, self.query, node.transpose(self.key, (0, 1, 3, 2)))
        scores = node.multiply(scores, node.scalar(scale or 1 / sqrt(width), scores))
        if softcap:
            scaled = node.multiply(scores, node.scalar(1 / softcap, scores))
            scores = node.multiply(node.unary("tanh", scaled), node.scalar(softcap, scores))
        for mask in masks:
            scores = scores if mask is None else node.add(scores, node.cast(mask, scores.type.dtype))
        return _merged(node, MatMul(node, self._weights(scores, sinks), self.value))

    def _weights(self, scores: Value, sinks: Value | None) -> Value:
        if sinks is None:
            return self.node.apply(Softmax(3), scores)
        *places, keys = scores.type.shape
        column = self.node.expand(self.node.reshape(sinks, (sinks.type.shape[0], 1, 1)), (*places, 1))
        weights = self.node.apply(Softmax(3), joined(self.node, [scores, column], 3))
        return part(self.node, weights, {3: (0, keys)})

    def causal(self, forbidden: float, wanted: int) -> Value | None:
        """Scores of keys behind a query, which is the last but ``S - 1 - s``."""
        if not wanted:
            return None
        node, shift = self.node, self.node.shape_scalar(self.keys - self.queries)
        last = node.add(iota(node, self.queries, 2, 4), shift)
        return self._penalty(node.binary("less_equal", iota(node, self.keys, 3, 4), last), min(forbidden, FORBIDDEN))

    def window(self, places: Value, size: int) -> Value:
        """Scores of keys behind the places ``[B, S]`` of the queries, or `size` and more before them."""
        node = self.node
        last = node.reshape(places, (places.type.shape[0], 1, self.queries, 1))
        key = iota(node, self.keys, 3, 4)
        allowed = node.binary("less_equal", key, last)
        if size > 0:
            oldest = node.subtract(last, node.scalar(size, last))
            allowed = node.binary("and", allowed, node.binary("less", oldest, key))
        return self._penalty(allowed, FORBIDDEN)

    def padding(self, mask: Value | None, forbidden: float) -> Value | None:
        """Scores of keys that a mask leaves out: ``[B, T]`` or ``[B, S, T]``, or lengths of sequences ``[B]``."""
        node = self.node
        if mask is None:
            return None
        if mask.type.rank == 1:
            if mask.type.shape[0] != self.query.type.shape[0]:
                node.unsupported("a mask with the starts of the sequences")
            length = node.reshape(node.cast(mask, INT64), (mask.type.shape[0], 1, 1, 1))
            return self._penalty(node.binary("less", iota(node, self.keys, 3, 4), length), forbidden)
        if mask.type.rank not in (2, 3):
            node.unsupported(f"a mask {mask.type}")
        queries = mask.type.shape[1:-1] or (1,)
        shape = (mask.type.shape[0], 1, *queries, mask.type.shape[-1])
        zero = node.scalar(0, mask)
        return self._penalty(node.binary("less", zero, node.reshape(mask, shape)), forbidden)

    def _penalty(self, allowed: Value, forbidden: float) -> Value:
        dtype = self.query.type.dtype
        return self.node.select(allowed, self.node.constant(0.0, dtype), self.node.constant(forbidden, dtype))


def _heads(node: Node, x: Value, count: int) -> Value:
    """``[B, S, N · D]`` as ``[B, N, S, D]``"""
    batch, length, width = x.type.shape
    return node.transpose(node.reshape(x, (batch, length, count, floor_divide(width, count))), (0, 2, 1, 3))


def _merged(node: Node, x: Value) -> Value:
    """``[B, N, S, D]`` as ``[B, S, N · D]``"""
    batch, count, length, width = x.type.shape
    return node.reshape(node.transpose(x, (0, 2, 1, 3)), (batch, length, count * width))


def _unpacked(node: Node, packed: Value) -> list[Value]:
    """``[B, S, N, 3 or 2, D]`` as that many tensors ``[B, N, S, D]``"""
    if packed.type.rank != 5:
        node.fail(f"expected queries, keys and values, or all of them packed with 5 axes, found {packed.type}")
    batch, length, heads, count, width = packed.type.shape
    pieces = [part(node, packed, {3: (n, 1)}) for n in range(node.static([count], "how many are packed")[0])]
    return [node.transpose(node.reshape(piece, (batch, length, heads, width)), (0, 2, 1, 3)) for piece in pieces]


def _parted(node: Node, packed: Value, counts: Sequence[int]) -> list[Value]:
    """The parts of ``[B, S, N · D]`` with so many heads each."""
    width = floor_divide(packed.type.shape[2], sum(counts))
    starts = (sum(counts[:number]) * width for number in range(len(counts)))
    return [part(node, packed, {2: (start, n * width)}) for start, n in zip(starts, counts, strict=True)]


def _total(total_length: Value) -> Dim | None:
    """How many keys there are with the new ones, if shapes say it."""
    known = contents_of(total_length)
    return None if known is None else known.reshape(-1)[0]


def _continued(node: Node, past: Value, rows: Value, first: Value, total: Dim | None) -> Value:
    """A past ``[B, N, T, D]`` with new rows: from `first` on where it has room for `total` rows, else behind it."""
    room, length = past.type.shape[2], rows.type.shape[2]
    if total is not None and bounds(room)[0] >= bounds(total)[1]:
        return node.apply(CacheUpdate(2, 0), past, rows, node.reshape(first, first.type.shape[:1]))
    if total is not None:
        message = f"expected a past of {total} rows, or of {total} less the {length} new ones; found {room}"
        require_equal(room + length, total, message)
    return joined(node, [past, rows], 2)


def _width(x: Value) -> Dim:
    return x.type.shape[2] if x.type.rank == 3 else x.type.shape[1] * x.type.shape[3]


def _biased(node: Node, x: Value, bias: Value) -> Value:
    if x.type.rank == 3:
        return node.add(x, bias)
    return node.add(x, node.reshape(bias, (x.type.shape[1], 1, x.type.shape[3])))


def _repeated(node: Node, x: Value, times: int) -> Value:
    """Each head that many times."""
    if times == 1:
        return x
    batch, heads, length, width = x.type.shape
    wide = node.expand(node.reshape(x, (batch, heads, 1, length, width)), (batch, heads, times, length, width))
    return node.reshape(wide, (batch, heads * times, length, width))


def _rotated(node: Node, x: Value, positions: Value, cosines: Value, sines: Value, interleaved: bool) -> Value:
    """Pairs of elements of ``x [B, N, S, D]`` turned by the angles of their position; the rest as it is."""
    batch, heads, length, width = x.type.shape
    half = cosines.type.shape[1]
    shape = (positions.type.shape[0], 1, length, half)
    cos, sin = (node.reshape(node.apply(Gather(0), table, positions), shape) for table in (cosines, sines))
    turned = part(node, x, {3: (0, 2 * half)})
    if interleaved:
        pairs = node.reshape(turned, (batch, heads, length, half, 2))
        a, b = (node.reshape(part(node, pairs, {4: (n, 1)}), (batch, heads, length, half)) for n in range(2))
    else:
        a, b = (part(node, turned, {3: (start, half)}) for start in (0, half))
    first = node.subtract(node.multiply(a, cos), node.multiply(b, sin))
    second = node.add(node.multiply(a, sin), node.multiply(b, cos))
    if interleaved:
        result = node.reshape(stacked(node, [first, second], 4), turned.type.shape)
    else:
        result = joined(node, [first, second], 3)
    rest = width - 2 * half
    return result if rest == 0 else joined(node, [result, part(node, x, {3: (2 * half, rest)})], 3)

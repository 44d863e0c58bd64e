"""Reductions, operators that move elements, and products."""

from __future__ import annotations

from itertools import product

import numpy as np

from tensorflow_live.graph import A, Feed, case

for _name in ("sum", "mean", "prod", "max", "min"):
    for _axis, _keep in product((None, 0, 1, -1, (0, 2), (1, -1), (0, 1, 2)), (False, True)):

        @case(f"reduce_{_name}-{_axis}-{_keep}", A)
        def _(net, x, name=_name, axis=_axis, keep=_keep):
            return getattr(net.tf, f"reduce_{name}")(x, axis, keepdims=keep)

    @case(f"reduce_{_name}-int32", Feed((2, 3, 4), 1, 4, "int32"))
    def _(net, x, name=_name):
        return getattr(net.tf, f"reduce_{name}")(x, 1, keepdims=True)


for _keep in (False, True):

    @case(f"reduce-others-{_keep}", A)
    def _(net, x, keep=_keep):
        tf = net.tf
        return [
            tf.reduce_any(x > 1.5, 1, keepdims=keep), tf.reduce_all(x > -1.5, (0, 2), keepdims=keep),
            tf.norm(x, axis=1, keepdims=keep), tf.reduce_logsumexp(x, (0, 1), keepdims=keep),
            tf.math.reduce_variance(x, 2, keepdims=keep), *tf.nn.moments(x, (0, 2), keepdims=keep),
        ]  # fmt: skip


for _axis, _type in product((0, 1, -1), ("int32", "int64")):

    @case(f"ArgMax-{_axis}-{_type}", A)
    def _(net, x, axis=_axis, type=_type):
        return [net.tf.argmax(x, axis, type), net.tf.argmin(x, axis, type)]


@case("cumsum-topk", A)
def _(net, x):
    tf = net.tf
    return [
        tf.cumsum(x, 1), tf.cumsum(x, 0, exclusive=True), tf.cumsum(x, -1, reverse=True),
        tf.cumsum(x, 2, exclusive=True, reverse=True), *tf.math.top_k(x, 3),
    ]  # fmt: skip


for _axis in (-3, -1, 0, 1, 2):

    @case(f"join-and-part-{_axis}", A, A)
    def _(net, x, y, axis=_axis):
        tf = net.tf
        whole = tf.concat([x, y, x], axis)
        parts = [*tf.unstack(x, axis=axis)] if x.shape[axis] else []
        even = [*tf.split(whole, 3, axis)] if whole.shape[axis] else []
        uneven = [*tf.split(tf.concat([x, x], 1), [1, -1, 2], 1)]
        return [whole, tf.stack([x, y], axis), *parts, *even, *uneven]


SLICES = {
    "first": np.s_[0], "last": np.s_[-1], "range": np.s_[:, 1:3], "open": np.s_[1:], "tail": np.s_[:, -2:],
    "step": np.s_[:, ::2], "reverse": np.s_[..., ::-1], "back": np.s_[:, 2:0:-1], "index": np.s_[:, 1, 2],
    "ellipsis": np.s_[..., 1], "between": np.s_[0, ..., 1:3], "new": np.s_[:, None, 1], "news": np.s_[None, ..., None],
    "beyond": np.s_[:, 1:99, -99:2], "empty-middle": np.s_[:, :, 1::2], "mixed": np.s_[None, -1, ..., ::-2],
}  # fmt: skip
for _label, _slice in SLICES.items():

    @case(f"StridedSlice-{_label}", A)
    def _(net, x, entries=_slice):
        return x[entries]


for _begin, _end, _shrink in product(range(8), range(8), (0, 2)):

    @case(f"StridedSlice-masks-{_begin}-{_end}-{_shrink}", Feed((2, 4, 5)))
    def _(net, x, begin=_begin, end=_end, shrink=_shrink):
        bounds = ([0, 1, -2], [2, 3, 0], [1, 1 if shrink else 2, -1])
        return net.tf.strided_slice(x, *bounds, begin_mask=begin, end_mask=end, shrink_axis_mask=shrink)


@case("Slice", A)
def _(net, x):
    tf = net.tf
    return [tf.slice(x, [0, 1, 2], [-1, 2, 1]), tf.slice(x, [1, 0, 0], [1, -1, -1]), tf.slice(x, [0, 0, 1], [1, 3, 2])]


@case("reshaping", Feed((2, 3, 1, 4)))
def _(net, x):
    tf = net.tf
    batch = tf.shape(x)[0]
    return [
        tf.reshape(x, (-1, 12)), tf.reshape(x, tf.stack([batch, 4, 3])),
        tf.reshape(x, tf.concat([tf.shape(x)[:1], [-1]], 0)),
        tf.squeeze(x, 2), tf.squeeze(x, [-2]), tf.expand_dims(x, 0), tf.expand_dims(x, -1), tf.expand_dims(x, 2),
        tf.shape(x), tf.shape(x, out_type=tf.int64), tf.size(x), tf.rank(x),
        tf.reshape(x[:, :1], tf.shape(x[:, 0])), tf.reshape(x, (batch, tf.shape(x)[1] * tf.shape(x)[3])),
    ]  # fmt: skip


@case("Squeeze-all", Feed((1, 3, 1, 4)), any_batch=False)
def _(net, x):
    return net.tf.squeeze(x)


for _permutation in ((0, 2, 1), (2, 1, 0), (1, 2, 0), (0, 1, 2)):

    @case(f"Transpose-{_permutation}", A)
    def _(net, x, permutation=_permutation):
        return [net.tf.transpose(x, permutation), net.tf.transpose(x, net.tf.constant(permutation, net.tf.int64))]


@case("computed-axes", A)
def _(net, x):
    tf = net.tf
    backwards = tf.range(tf.rank(x))[::-1]
    axis = tf.rank(x) - 1
    return [
        tf.transpose(x), tf.transpose(x, backwards), tf.transpose(x, tf.concat([[0], tf.range(2, 0, -1)], 0)),
        tf.concat([x, x], axis), tf.reduce_sum(x, tf.range(1, 3)), tf.expand_dims(x, axis), tf.argmax(x, axis),
        tf.tile(x, tf.one_hot(1, 3, 3, 1, dtype=tf.int32)), tf.reduce_mean(x, tf.range(tf.rank(x))),
        tf.pad(x, tf.stack([[0, 0], tf.shape(x)[1:3] - 2, [1, 0]])), tf.split(x, 2, tf.constant(5) - 3)[1],
    ]  # fmt: skip


@case("repeating", A)
def _(net, x):
    tf = net.tf
    return [
        tf.tile(x, [1, 2, 3]), tf.tile(x, [2, 1, 1]), tf.broadcast_to(x, tf.concat([[2], tf.shape(x)], 0)),
        tf.reverse(x, [1]), tf.reverse(x, [-1, 0]), tf.linalg.band_part(x, 1, 0), tf.repeat(x, 2, 1),
    ]  # fmt: skip


for _mode, _pairs in product(
    ("CONSTANT", "REFLECT", "SYMMETRIC"), (((0, 0), (1, 2), (0, 3)), ((0, 0), (2, 0), (3, 1)))
):

    @case(f"Pad-{_mode}-{_pairs}", A)
    def _(net, x, mode=_mode, pairs=_pairs):
        return net.tf.pad(x, pairs, mode, constant_values=0)


@case("PadV2", A)
def _(net, x):
    return [net.tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=value) for value in (-1.5, 3.0)]


for _axis in (0, 1, -1):

    @case(f"Gather-{_axis}", A)
    def _(net, x, axis=_axis):
        tf = net.tf
        return [
            tf.gather(x, indices, axis=axis)
            for indices in (1, [1, 0, 1], [[0, 1], [1, 0]], tf.constant([1, 0], tf.int64))
        ]


@case("Gather-others", A, Feed((2, 5), 0, 3, "int32"))
def _(net, x, indices):
    tf = net.tf
    return [
        tf.gather(x, indices, batch_dims=1), tf.gather(net.variable(7, 3), indices),
        tf.nn.embedding_lookup(net.variable(9, 4), indices),
        tf.raw_ops.Gather(params=net.variable(4, 2), indices=indices), tf.one_hot(indices, 4),
        tf.one_hot(indices, 2, 5.0, -1.0, 1),
        tf.gather_nd(x, tf.stack([tf.zeros_like(indices[:, 0]), indices[:, 0]], -1)),
    ]  # fmt: skip


for _ta, _tb, _dtype in product((False, True), (False, True), ("float32", "float64")):

    @case(f"MatMul-{_ta}-{_tb}-{_dtype}", Feed((4, 4), dtype=_dtype), any_batch=not _ta)
    def _(net, x, ta=_ta, tb=_tb, dtype=_dtype):
        w = net.variable(*((5, 4) if tb else (4, 5)), dtype=dtype)
        return net.tf.matmul(x, w, transpose_a=ta, transpose_b=tb)

    @case(f"BatchMatMul-{_ta}-{_tb}-{_dtype}", Feed((2, 3, 4), dtype=_dtype))
    def _(net, x, ta=_ta, tb=_tb, dtype=_dtype):
        inner = 3 if ta else 4
        w = net.variable(*((5, inner) if tb else (inner, 5)), dtype=dtype)
        wide = net.variable(2, 1, *((5, inner) if tb else (inner, 5)), dtype=dtype)
        return [
            net.tf.matmul(x, net.tf.tile(w[None], [net.tf.shape(x)[0], 1, 1]), adjoint_a=ta, adjoint_b=tb),
            net.tf.raw_ops.BatchMatMulV2(x=x, y=w[None], adj_x=ta, adj_y=tb),
            net.tf.raw_ops.BatchMatMulV2(x=x, y=wide, adj_x=ta, adj_y=tb),
        ]


@case("products", A)
def _(net, x):
    tf = net.tf
    flat = tf.reshape(x, (-1, 12))
    return [
        tf.tensordot(x, net.variable(4, 5), 1), tf.einsum("abc,cd->abd", x, net.variable(4, 2)),
        tf.compat.v1.nn.xw_plus_b(flat, net.variable(12, 3), net.variable(3)),
        tf.nn.l2_normalize(flat, 1), tf.linalg.matvec(x, net.variable(4)),
    ]  # fmt: skip

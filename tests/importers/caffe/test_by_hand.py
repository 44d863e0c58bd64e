"""Layers and parameters that OpenCV lacks, or computes otherwise than Caffe: numbers by hand and plain NumPy."""

from __future__ import annotations

from itertools import product
from math import prod

import numpy as np
import pytest

from caffe_models import computed, definition, imported, layer, outputs_of
from cases.case import assert_close
from tensorwright.base.errors import ImportFailure

LOWEST = np.finfo(np.float32).min


def draw(rng: np.random.Generator, *shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray:
    return rng.uniform(low, high, shape).astype(np.float32)


def one(type: str, parameters: str, *inputs: np.ndarray, **options) -> np.ndarray:
    return computed(type, parameters, *inputs, **options)["out"]


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=np.float32)


FUNCTIONS = (
    ("Clip", "clip_param { min: -1 max: 0.5 }", row(-2, -1, 0.25, 3), row(-1, -1, 0.25, 0.5)),
    ("Threshold", "", row(-1, 0, 0.25), row(0, 0, 1)),
    ("Threshold", "threshold_param { threshold: 0.25 }", row(0, 0.25, 0.5), row(0, 0, 1)),
    ("Log", "", row(1, np.e), row(0, 1)),
    ("Log", "log_param { base: 2 scale: 4 shift: 8 }", row(0, 2, -1.5), row(3, 4, 1)),
    ("Exp", "exp_param { base: 3 shift: 1 }", row(0, 1), row(3, 9)),
    ("Exp", "exp_param { shift: 1e30 }", row(0, 1), row(np.inf, np.inf)),
    ("Power", "", row(-2, 3), row(-2, 3)),
    ("Power", "power_param { power: 0.5 scale: 2 shift: 1 }", row(0, 4), row(1, 3)),
    ("Power", "power_param { power: -1 shift: 1 }", row(1, 3), row(0.5, 0.25)),
    ("Power", "power_param { power: 0 }", row(-2, 3), row(1, 1)),
    ("Swish", "swish_param { beta: 2 }", row(1, -1), row(1 / (1 + np.exp(-2)), -1 / (1 + np.exp(2)))),
    ("ELU", "", row(-1, 2), row(np.exp(-1) - 1, 2)),
    ("LRN", "", np.ones((1, 6, 1, 1)), ((1 + np.array([3, 4, 5, 5, 4, 3]) / 5) ** -0.75).reshape(1, 6, 1, 1)),
    ("LRN", "lrn_param { local_size: 1 alpha: 3 beta: 1 k: 2 }", row(1, 2), row(1 / 5, 2 / 14)),
    ("LRN", "lrn_param { local_size: 1 alpha: 3 beta: 0.5 norm_region: WITHIN_CHANNEL k: 9 }",
     np.full((1, 1, 1, 1), 2.0), np.full((1, 1, 1, 1), 2 / np.sqrt(13))),
    ("Reduction", "", np.arange(6).reshape(2, 3), np.array(15.0)),
    ("Reduction", "reduction_param { axis: 1 }", row(1, -2, 4), np.array([3.0])),
    ("Reduction", "reduction_param { operation: ASUM axis: -1 coeff: 0.5 }", row(1, -2, 4), np.array([3.5])),
    ("Reduction", "reduction_param { operation: SUMSQ axis: 1 }", row(1, -2, 4), np.array([21.0])),
    ("Reduction", "reduction_param { operation: MEAN axis: 1 }", row(1, -2, 4), np.array([1.0])),
    ("Tile", "tile_param { tiles: 2 }", row(1, 2), row(1, 2, 1, 2)),
    ("Tile", "tile_param { axis: 0 tiles: 3 }", row(1, 2), np.array([[1, 2]] * 3)),
    ("Permute", "permute_param { order: 1 }", np.arange(6).reshape(2, 3), np.arange(6).reshape(2, 3).T),
    ("Flatten", "flatten_param { axis: 0 end_axis: 1 }", np.arange(24).reshape(2, 3, 4), np.arange(24).reshape(6, 4)),
    ("Reshape", "reshape_param { shape { dim: 0 dim: 2 dim: -1 } axis: 1 }", np.arange(24).reshape(2, 3, 4),
     np.arange(24).reshape(2, 3, 2, 2)),
    ("Reshape", "reshape_param { shape { dim: 1 } axis: -1 num_axes: 0 }", row(1, 2), np.array([[[1], [2]]])),
    ("Concat", "concat_param { concat_dim: 0 }", row(1, 2), row(1, 2)),
    ("SoftmaxWithLoss", "", row(0, np.log(3)), row(0.25, 0.75)),
    ("ArgMax", "", np.array([[3, 5, 4], [2, 2, 1]]), np.array([[[1]], [[1]]])),
    ("ArgMax", "argmax_param { top_k: 3 }", np.array([[3, 5, 5], [2, 2, 1]]), np.array([[[2, 1, 0]], [[1, 0, 2]]])),
    ("ArgMax", "argmax_param { out_max_val: true top_k: 2 }", np.array([[3, 5, 4]]), np.array([[[1, 2], [5, 4]]])),
    ("ArgMax", "argmax_param { axis: 0 }", np.array([[3, 5, 5], [4, 2, 5]]), np.array([[1, 0, 1]])),
    ("ArgMax", "argmax_param { axis: -1 top_k: 2 out_max_val: true }", row(3, 9, 4), row(9, 4)),
    ("ArgMax", "argmax_param { axis: 1 top_k: 2 }", row(3, 9, 4), row(1, 2)),
)  # fmt: skip


@pytest.mark.parametrize(("type", "parameters", "x", "expected"), FUNCTIONS)
def test_a_function(type: str, parameters: str, x: np.ndarray, expected: np.ndarray):
    assert_close(one(type, parameters, x), np.asarray(expected, dtype=np.float32), 1e-6)


def test_argmax_of_images_keeps_their_number_of_axes():
    x = np.zeros((2, 3, 2, 2), np.float32)
    x[0, 2, 0, 1] = x[1, 0, 1, 0] = 7
    np.testing.assert_array_equal(one("ArgMax", "", x), np.array([9, 2]).reshape(2, 1, 1, 1))
    both = one("ArgMax", "argmax_param { out_max_val: true }", x)
    np.testing.assert_array_equal(both, np.array([[9, 7], [2, 7]]).reshape(2, 2, 1, 1))


def convolved(x, weights, stride, pad, dilation):
    """Cross-correlation, one output element after the other."""
    spatial = weights.ndim - 2
    padded = np.pad(x.astype(np.float64), [(0, 0), (0, 0), *[(pad, pad)] * spatial])
    spans = [(k - 1) * dilation + 1 for k in weights.shape[2:]]
    counts = [(n - s) // stride + 1 for n, s in zip(padded.shape[2:], spans, strict=True)]
    result = np.zeros((x.shape[0], weights.shape[0], *counts))
    for at in product(*map(range, counts)):
        window = padded[(..., *(slice(i * stride, i * stride + s, dilation) for i, s in zip(at, spans, strict=True)))]
        result[(..., *at)] = np.tensordot(window, weights, (range(1, 2 + spatial), range(1, 2 + spatial)))
    return result


@pytest.mark.parametrize(("extents", "axis"), [((7,), 1), ((5, 4, 6), 1), ((4, 5), 2)])
def test_convolution_over_other_axes(rng: np.random.Generator, extents: tuple[int, ...], axis: int):
    lead = (2,) * axis
    x, w, b = draw(rng, *lead, 3, *extents), draw(rng, 4, 3, *[2] * len(extents)), draw(rng, 4)
    parameters = f"convolution_param {{ num_output: 4 kernel_size: 2 stride: 2 pad: 1 axis: {axis - x.ndim} }}"
    expected = convolved(x.reshape(-1, 3, *extents), w, 2, 1, 1) + b.reshape(-1, *[1] * len(extents))
    assert_close(one("Convolution", parameters, x, blobs=[w, b]), expected.reshape(*lead, *expected.shape[1:]), 1e-5)


def test_convolution_of_several_bottoms_with_the_same_weights(rng: np.random.Generator):
    w, b, x, y = draw(rng, 4, 3, 3, 3), draw(rng, 4), draw(rng, 1, 3, 6, 5), draw(rng, 2, 3, 4, 4)
    found = computed(
        "Convolution", "convolution_param { num_output: 4 kernel_size: 3 }", x, y, blobs=[w, b], tops="p q"
    )
    for name, image in (("p", x), ("q", y)):
        assert_close(found[name], convolved(image, w, 1, 0, 1) + b.reshape(4, 1, 1), 1e-5)


def test_dilated_deconvolution(rng: np.random.Generator):
    x, w = draw(rng, 2, 3, 4, 5), draw(rng, 3, 4, 3, 2)
    parameters = (
        "convolution_param { num_output: 4 kernel_h: 3 kernel_w: 2 stride: 2 pad: 1 dilation: 3 bias_term: false }"
    )
    whole = np.zeros((2, 4, 3 * 2 + 7, 4 * 2 + 4))
    for n, c, i, j in np.ndindex(*x.shape):
        whole[n, :, 2 * i : 2 * i + 7 : 3, 2 * j : 2 * j + 4 : 3] += x[n, c, i, j] * w[c]
    assert_close(one("Deconvolution", parameters, x, blobs=[w]), whole[:, :, 1:-1, 1:-1], 1e-5)


def test_depthwise_convolution(rng: np.random.Generator):
    x, w, b = draw(rng, 2, 3, 5, 5), draw(rng, 3, 1, 3, 3), draw(rng, 3)
    parts = [convolved(x[:, c : c + 1], w[c : c + 1], 1, 1, 1) + b[c] for c in range(3)]
    parameters = "convolution_param { num_output: 3 kernel_size: 3 pad: 1 }"
    assert_close(one("DepthwiseConvolution", parameters, x, blobs=[w, b]), np.concatenate(parts, axis=1), 1e-5)


def test_transposed_inner_product(rng: np.random.Generator):
    x, w, b = draw(rng, 2, 3, 4), draw(rng, 4, 5), draw(rng, 5)
    found = one("InnerProduct", "inner_product_param { num_output: 5 axis: 2 transpose: true }", x, blobs=[w, b])
    assert_close(found, x @ w + b, 1e-5)
    found = one(
        "InnerProduct", "inner_product_param { num_output: 5 axis: 0 bias_term: false }", x, blobs=[draw(rng, 5, 24)]
    )
    assert found.shape == (5,)


@pytest.mark.parametrize("bias", [True, False])
def test_embed(rng: np.random.Generator, bias: bool):
    table, offset = draw(rng, 7, 3), draw(rng, 3)
    x = np.array([[0, 6, 2], [1, 1, 5]], np.float32)
    parameters = f"embed_param {{ num_output: 3 input_dim: 7 bias_term: {str(bias).lower()} }}"
    expected = table[x.astype(int)] + (offset if bias else 0)
    assert_close(one("Embed", parameters, x, blobs=[table, offset] if bias else [table]), expected, 1e-6)


@pytest.mark.parametrize(
    ("shape", "axis", "num_axes"), [((3,), 1, 1), ((3, 4), 1, 2), ((3, 4), 1, -1), ((), 0, 0), ((4,), -1, 1)]
)
def test_bias(rng: np.random.Generator, shape: tuple[int, ...], axis: int, num_axes: int):
    x, b = draw(rng, 2, 3, 4), draw(rng, *shape)
    aligned = b.reshape(*shape, 1) if shape == (3,) else b
    parameters = f"bias_param {{ axis: {axis} num_axes: {num_axes} }}"
    assert_close(one("Bias", parameters, x, blobs=[b]), x + aligned, 1e-6)
    if shape:
        assert_close(one("Bias", f"bias_param {{ axis: {axis} }}", x, b), x + aligned, 1e-6)


def test_scale_by_a_bottom_with_a_bias(rng: np.random.Generator):
    x, s, b = draw(rng, 2, 3, 4), draw(rng, 2, 3), draw(rng, 2, 3)
    found = one("Scale", "scale_param { axis: 0 bias_term: true }", x, s, blobs=[b])
    assert_close(found, x * s[..., None] + b[..., None], 1e-6)


def test_axpy(rng: np.random.Generator):
    a, x, y = draw(rng, 2, 3, 1, 1), draw(rng, 2, 3, 4, 5), draw(rng, 2, 3, 4, 5)
    assert_close(one("Axpy", "", a, x, y), a * x + y, 1e-6)
    assert_close(one("Axpy", "", a.reshape(2, 3), x, y), a * x + y, 1e-6)


def test_pooling_rounds_as_asked(rng: np.random.Generator):
    x = draw(rng, 1, 1, 6, 6)
    for parameters, count in (
        ("", 3),
        ("round_mode: CEIL", 3),
        ("round_mode: FLOOR", 2),
        ("torch_pooling: true", 2),
        ("ceil_mode: true", 3),
        ("ceil_mode: false", 2),
        ("ceil_mode: false round_mode: FLOOR", 2),
    ):
        found = one("Pooling", f"pooling_param {{ kernel_size: 3 stride: 2 {parameters} }}", x)
        assert found.shape == (1, 1, count, count)
        assert found[0, 0, 1, 1] == x[0, 0, 2:5, 2:5].max()


def test_pooling_that_rounds_down_with_padding(rng: np.random.Generator):
    """As in DenseNet: 112 become 56, and no 57th window hangs over the end."""
    x = draw(rng, 1, 2, 8, 8, low=0.5)
    found = one("Pooling", "pooling_param { kernel_size: 3 stride: 2 pad: 1 ceil_mode: false }", x)
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = [[padded[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((2, 3)) for j in range(4)] for i in range(4)]
    np.testing.assert_array_equal(found, np.asarray(expected).transpose(2, 3, 0, 1))


def test_ways_to_round_that_contradict_each_other(rng: np.random.Generator):
    parameters = "pooling_param { kernel_size: 3 stride: 2 ceil_mode: true round_mode: FLOOR }"
    with pytest.raises(ImportFailure, match="round_mode and ceil_mode contradict each other"):
        one("Pooling", parameters, draw(rng, 1, 1, 6, 6))


@pytest.mark.parametrize("pool", ["MAX", "AVE"])
@pytest.mark.parametrize("extents", [(4, 4), (7, 11), (6, 4)])
def test_a_pyramid_of_pools(rng: np.random.Generator, pool: str, extents: tuple[int, int]):
    x = draw(rng, 2, 3, *extents, low=0.5)
    found = one("SPP", f"spp_param {{ pyramid_height: 3 pool: {pool} }}", x)
    expected = []
    for count in (1, 2, 4):
        kernel = [-(-extent // count) for extent in extents]
        pads = [(k * count - extent + 1) // 2 for k, extent in zip(kernel, extents, strict=True)]
        bins = np.zeros((2, 3, count, count))
        for row_, column in product(range(count), repeat=2):
            at = [place * k - p for place, k, p in zip((row_, column), kernel, pads, strict=True)]
            ends = [min(start + k, extent + p) for start, k, extent, p in zip(at, kernel, extents, pads, strict=True)]
            window = x[:, :, max(at[0], 0) : ends[0], max(at[1], 0) : ends[1]].astype(np.float64)
            area = prod(end - start for start, end in zip(at, ends, strict=True))
            bins[:, :, row_, column] = window.max((2, 3)) if pool == "MAX" else window.sum((2, 3)) / area
        expected.append(bins.reshape(2, -1))
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-6)


def test_windows_that_start_beyond_the_input():
    """Without padding Caffe counts them; they hold nothing. With padding it drops them."""
    x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)
    largest = one("Pooling", "pooling_param { kernel_size: 1 stride: 2 }", x)
    expected = np.array([[0, 2, LOWEST], [8, 10, LOWEST], [LOWEST] * 3], np.float32)
    np.testing.assert_array_equal(largest[0, 0], expected)
    mean = one("Pooling", "pooling_param { pool: AVE kernel_size: 1 stride: 2 }", x)
    np.testing.assert_array_equal(mean[0, 0], np.where(expected == LOWEST, 0, expected))
    padded = one("Pooling", "pooling_param { kernel_size: 2 stride: 3 pad: 1 }", x)
    np.testing.assert_array_equal(padded[0, 0], [[0, 3], [12, 15]])


def test_stochastic_pooling_weighs_elements_by_themselves():
    x = np.array([[1, 3, 0, 0], [0, 4, 0, 0]], np.float32).reshape(1, 1, 2, 4)
    found = one("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", x)
    np.testing.assert_allclose(found[0, 0], [[26 / 8, 0]], rtol=1e-6)
    whole = one("Pooling", "pooling_param { pool: STOCHASTIC global_pooling: true }", x)
    np.testing.assert_allclose(whole, np.full((1, 1, 1, 1), 26 / 8), rtol=1e-6)


@pytest.mark.parametrize("pad", [0, 1])
def test_pooling_tells_positions_and_upsampling_uses_them(rng: np.random.Generator, pad: int):
    x = rng.permutation(2 * 3 * 6 * 8).astype(np.float32).reshape(2, 3, 6, 8)
    pooling = layer("Pooling", f"pooling_param {{ kernel_size: 2 stride: 2 pad: {pad} }}", tops="small where")
    up = layer(
        "Upsample", "upsample_param { upsample_h: 6 upsample_w: 8 }", bottoms="small where", tops="up", name="up"
    )
    keep = layer("Split", bottoms="where", tops="positions", name="keep")
    text = definition(pooling + keep + up, data=x.shape)
    found = outputs_of(imported(text, {"none": [np.zeros(1)]}), data=x)
    places = found["positions"].astype(int)
    for n, c in np.ndindex(2, 3):
        kept = np.zeros(48, np.float32)
        kept[places[n, c].reshape(-1)] = x[n, c].reshape(-1)[places[n, c].reshape(-1)]
        np.testing.assert_array_equal(found["up"][n, c].reshape(-1), kept)
        assert places[n, c, 1, 1] == max(
            ((2 - pad + i) * 8 + 2 - pad + j for i in (0, 1) for j in (0, 1)), key=lambda k: x[n, c].reshape(-1)[k]
        )


def test_upsampling_repeats(rng: np.random.Generator):
    x = draw(rng, 1, 2, 3, 4)
    assert_close(one("Upsample", "", x), x.repeat(2, 2).repeat(2, 3), 0)
    assert_close(one("Upsample", "upsample_param { scale: 3 }", x), x.repeat(3, 2).repeat(3, 3), 0)
    assert_close(one("Upsample", "upsample_param { scale_h: 1 scale_w: 2 }", x), x.repeat(2, 3), 0)
    cut = one("Upsample", "upsample_param { pad_out_h: true pad_out_w: true }", x)
    assert_close(cut, x.repeat(2, 2).repeat(2, 3)[:, :, :-1, :-1], 0)


def test_batch_norm_of_branches_and_of_batches(rng: np.random.Generator):
    x = draw(rng, 4, 3, 2, 5)
    mean, variance, scale, bias = draw(rng, 3), draw(rng, 3, low=0.5), draw(rng, 3), draw(rng, 3)

    def spread(values):
        return values.reshape(3, 1, 1).astype(np.float64)

    five = [mean, variance, np.array([2.0], np.float32), scale, bias]
    expected = (x - spread(mean / 2)) / np.sqrt(spread(variance / 2) + 1e-5) * spread(scale) + spread(bias)
    assert_close(one("BatchNorm", "", x, blobs=five), expected, 1e-5)
    found = one("BatchNorm", "batch_norm_param { use_global_stats: false eps: 0.1 }", x)
    wide = x.astype(np.float64)
    expected = (wide - wide.mean((0, 2, 3), keepdims=True)) / np.sqrt(wide.var((0, 2, 3), keepdims=True) + 0.1)
    assert_close(found, expected, 1e-5)
    untrained = [mean, variance, np.zeros(1, np.float32)]
    assert_close(one("BatchNorm", "batch_norm_param { eps: 4 }", x, blobs=untrained), x / 2, 1e-6)
    flat = one("BatchNorm", "", x[:, :, 0, 0], blobs=[mean, variance, np.ones(1, np.float32)])
    assert_close(flat, (x[:, :, 0, 0] - mean) / np.sqrt(variance + 1e-5), 1e-5)


def test_mvn_adds_epsilon_to_the_deviation(rng: np.random.Generator):
    x = draw(rng, 2, 3, 4, 5).astype(np.float64)
    for across, axes in ((False, (2, 3)), (True, (1, 2, 3))):
        found = one("MVN", f"mvn_param {{ across_channels: {str(across).lower()} eps: 0.5 }}", x)
        expected = (x - x.mean(axes, keepdims=True)) / (x.std(axes, keepdims=True) + 0.5)
        assert_close(found, expected, 1e-5)


def test_normalize_adds_epsilon_to_the_sum(rng: np.random.Generator):
    x, scale = draw(rng, 2, 3, 4, 5), np.array([3.0], np.float32)
    found = one("Normalize", "norm_param { across_spatial: false eps: 0.5 }", x, blobs=[scale])
    assert_close(found, 3 * x / np.sqrt((x**2).sum(1, keepdims=True) + 0.5), 1e-5)


def test_prelu_of_vectors(rng: np.random.Generator):
    x, slope = draw(rng, 4, 3), draw(rng, 3)
    assert_close(one("PReLU", "", x, blobs=[slope]), np.where(x > 0, x, slope * x), 1e-6)


def test_slice_by_its_older_name(rng: np.random.Generator):
    x = draw(rng, 4, 3)
    found = computed("Slice", "slice_param { slice_dim: 0 slice_point: 1 }", x, tops="a b")
    np.testing.assert_array_equal(found["a"], x[:1])
    np.testing.assert_array_equal(found["b"], x[1:])


def test_interp_shrinks_crops_and_follows_a_bottom(rng: np.random.Generator):
    x = draw(rng, 1, 2, 9, 9)
    assert_close(one("Interp", "interp_param { shrink_factor: 4 }", x), x[:, :, ::4, ::4], 1e-6)
    assert_close(one("Interp", "interp_param { zoom_factor: 1 pad_beg: -1 pad_end: -2 }", x), x[:, :, 1:-2, 1:-2], 1e-6)
    both = one("Interp", "interp_param { shrink_factor: 4 zoom_factor: 2 }", x)
    assert both.shape == (1, 2, 5, 5)
    like = one("Interp", "", x, np.zeros((1, 1, 17, 17)))
    assert_close(like[:, :, ::2, ::2], x, 1e-6)
    assert_close(like[:, :, 1::2, ::2], (x[:, :, 1:] + x[:, :, :-1]) / 2, 1e-6)


def test_prior_boxes_of_one_place():
    """A map of one place on an image of 100×200 pixels: its centre is at (100, 50), counted across first."""
    parameters = "prior_box_param { min_size: 10 max_size: 40 aspect_ratio: 4 img_h: 100 img_w: 200 }"
    found = one("PriorBox", parameters, np.zeros((1, 1, 1, 1)), np.zeros((1, 3, 7, 7)))
    sides = [(10, 10), (20, 20), (20, 5), (5, 20)]
    boxes = [((100 - w / 2) / 200, (50 - h / 2) / 100, (100 + w / 2) / 200, (50 + h / 2) / 100) for w, h in sides]
    np.testing.assert_allclose(found[0, 0].reshape(-1, 4), boxes, rtol=1e-6)
    np.testing.assert_allclose(found[0, 1], 0.1)
    edge = one(
        "PriorBox",
        "prior_box_param { min_size: 9 step_h: 2 step_w: 4 offset: 0 }",
        np.zeros((1, 1, 1, 2)),
        np.zeros((1, 3, 10, 20)),
    )
    np.testing.assert_allclose(
        edge[0, 0], [-4.5 / 20, -0.45, 4.5 / 20, 0.45, -0.5 / 20, -0.45, 8.5 / 20, 0.45], rtol=1e-6
    )


def test_a_parameter_layer(rng: np.random.Generator):
    w = draw(rng, 2, 3)
    text = definition(layer("Parameter", "parameter_param { shape { dim: 2 dim: 3 } }", bottoms=""), data=(1, 1))
    np.testing.assert_array_equal(outputs_of(imported(text, {"out": [w]}), data=np.zeros((1, 1), np.float32))["out"], w)


def test_silence_keeps_a_blob_from_being_an_output(rng: np.random.Generator):
    text = definition(layer("Split", tops="a b") + layer("Silence", bottoms="b", tops="", name="quiet"), data=(2, 2))
    assert list(outputs_of(imported(text, {"none": [np.zeros(1)]}), data=draw(rng, 2, 2))) == ["a"]

"""Single layers as OpenCV's reader of Caffe networks computes them: another program, other kernels, the same files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from caffe_models import by_opencv, definition, imported, layer, outputs_of
from cases.case import assert_close

pytest.importorskip("cv2")

Shape = tuple[int, ...]
IMAGE: Shape = (2, 6, 9, 8)


@dataclass(frozen=True)
class Case:
    """One layer: its parameters, the shapes of its bottoms and of its weights; positive: weights above 0."""

    name: str
    type: str
    parameters: str = ""
    bottoms: tuple[Shape, ...] = (IMAGE,)
    weights: tuple[Shape, ...] = ()
    tops: str = "out"
    positive: bool = False

    def __repr__(self) -> str:
        return f"{self.type}-{self.name}"


def conv(name: str, type: str, parameters: str, *weights: Shape, bottom: Shape = IMAGE) -> Case:
    return Case(name, type, f"convolution_param {{ {parameters} }}", (bottom,), weights)


def pool(name: str, parameters: str, bottom: Shape = IMAGE) -> Case:
    return Case(name, "Pooling", f"pooling_param {{ {parameters} }}", (bottom,))


PAIR = (IMAGE, IMAGE)
CASES = (
    conv("plain", "Convolution", "num_output: 4 kernel_size: 3", (4, 6, 3, 3), (4,)),
    conv("no-bias", "Convolution", "num_output: 4 kernel_size: 1 bias_term: false", (4, 6, 1, 1)),
    conv(
        "sides",
        "Convolution",
        "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 1 pad_h: 1 pad_w: 0 group: 2",
        (4, 3, 3, 2),
        (4,),
    ),
    conv(
        "repeated",
        "Convolution",
        "num_output: 4 kernel_size: 3 kernel_size: 2 stride: 1 stride: 2 pad: 2 pad: 1 dilation: 2 dilation: 1",
        (4, 6, 3, 2),
        (4,),
    ),
    conv("depthwise", "Convolution", "num_output: 6 kernel_size: 3 pad: 1 group: 6", (6, 1, 3, 3), (6,)),
    conv("plain", "Deconvolution", "num_output: 4 kernel_size: 4 stride: 2 pad: 1", (6, 4, 4, 4), (4,)),
    conv(
        "sides",
        "Deconvolution",
        "num_output: 4 kernel_h: 3 kernel_w: 2 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0 group: 2 bias_term: false",
        (6, 2, 3, 2),
    ),
    pool("max", "kernel_size: 3 stride: 2"),
    pool("max-rounded-up", "pool: MAX kernel_size: 2 stride: 2"),
    pool("max-padded", "pool: MAX kernel_size: 3 stride: 2 pad: 1"),
    pool("mean-padded", "pool: AVE kernel_size: 3 stride: 2 pad: 1"),
    pool("mean-padded-more", "pool: AVE kernel_h: 5 kernel_w: 4 stride: 3 pad_h: 2 pad_w: 3", (1, 3, 13, 14)),
    pool("mean-sides", "pool: AVE kernel_h: 3 kernel_w: 2 stride_h: 3 stride_w: 3"),
    pool("mean-global", "pool: AVE global_pooling: true"),
    pool("max-global", "pool: MAX global_pooling: true"),
    Case("plain", "InnerProduct", "inner_product_param { num_output: 5 }", weights=((5, 432), (5,))),
    Case("axis", "InnerProduct", "inner_product_param { num_output: 5 axis: -1 bias_term: false }", weights=((5, 8),)),
    Case("plain", "ReLU"),
    Case("slope", "ReLU", "relu_param { negative_slope: 0.1 }"),
    Case("channels", "PReLU", weights=((6,),)),
    Case("shared", "PReLU", "prelu_param { channel_shared: true }", weights=((1,),)),
    Case("alpha", "ELU", "elu_param { alpha: 0.5 }"),
    Case("plain", "Sigmoid"),
    Case("plain", "TanH"),
    Case("plain", "AbsVal"),
    Case("plain", "BNLL"),
    Case("plain", "ReLU6"),
    Case("plain", "Swish"),
    Case("square", "Power", "power_param { power: 2 scale: 0.5 shift: 0.1 }"),
    Case("line", "Power", "power_param { scale: 0.5 shift: 0.1 }"),
    Case("cube", "Power", "power_param { power: 3 scale: 0.5 shift: 3 }"),
    Case("default", "Exp"),
    Case("base", "Exp", "exp_param { base: 2 scale: 0.5 shift: 0.1 }"),
    Case("default", "Softmax"),
    Case("axis", "Softmax", "softmax_param { axis: 2 }"),
    Case("axis-from-end", "Softmax", "softmax_param { axis: -1 }"),
    Case("across", "LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 }"),
    Case("within", "LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.75 norm_region: WITHIN_CHANNEL }"),
    Case("default", "BatchNorm", weights=((6,), (6,), (1,)), positive=True),
    Case("eps", "BatchNorm", "batch_norm_param { eps: 0.1 }", weights=((6,), (6,), (1,)), positive=True),
    Case("plain", "Scale", weights=((6,),)),
    Case("bias", "Scale", "scale_param { bias_term: true }", weights=((6,), (6,))),
    Case("axes", "Scale", "scale_param { axis: 2 num_axes: 2 bias_term: true }", weights=((9, 8), (9, 8))),
    Case("rest", "Scale", "scale_param { axis: 1 num_axes: -1 }", weights=((6, 9, 8),)),
    Case("bottom", "Scale", "scale_param { axis: 0 }", (IMAGE, (2, 6))),
    Case("sum", "Eltwise", "", (IMAGE,) * 3),
    Case("weighed", "Eltwise", "eltwise_param { operation: SUM coeff: 0.5 coeff: -1 coeff: 2 }", (IMAGE,) * 3),
    Case("product", "Eltwise", "eltwise_param { operation: PROD }", PAIR),
    Case("largest", "Eltwise", "eltwise_param { operation: MAX }", (IMAGE,) * 3),
    Case("channels", "Concat", "", (IMAGE, (2, 3, 9, 8))),
    Case("axis", "Concat", "concat_param { axis: 2 }", (IMAGE, (2, 6, 4, 8))),
    Case("axis-from-end", "Concat", "concat_param { axis: -1 }", (IMAGE, (2, 6, 9, 5), IMAGE)),
    Case("default", "Crop", "", (IMAGE, (2, 6, 5, 6))),
    Case("offsets", "Crop", "crop_param { axis: 2 offset: 1 offset: 2 }", (IMAGE, (2, 6, 5, 6))),
    Case("one-offset", "Crop", "crop_param { axis: 1 offset: 1 }", (IMAGE, (2, 3, 5, 6))),
    Case("rest", "Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 4 } }"),
    Case("axes", "Reshape", "reshape_param { shape { dim: 3 dim: -1 } axis: 1 num_axes: 1 }"),
    Case("order", "Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }"),
    Case("default", "Flatten"),
    Case("axis", "Flatten", "flatten_param { axis: 2 end_axis: -1 }"),
    Case("plain", "Dropout", "dropout_param { dropout_ratio: 0.3 }"),
    Case("equal", "Slice", tops="a b"),
    Case("points", "Slice", "slice_param { axis: 2 slice_point: 2 slice_point: 3 }", tops="a b c"),
    Case("two", "Split", tops="a b"),
    Case("default", "MVN"),
    Case("mean", "MVN", "mvn_param { normalize_variance: false }"),
    Case("across", "MVN", "mvn_param { across_channels: true }"),
    Case("places", "Normalize", "norm_param { across_spatial: false channel_shared: false }", weights=((6,),)),
    Case("image", "Normalize", "norm_param { across_spatial: true channel_shared: true }", weights=((1,),)),
    Case(
        "sizes",
        "PriorBox",
        "prior_box_param { min_size: 20 max_size: 40 aspect_ratio: 2 clip: true variance: 0.1 variance: 0.1 "
        "variance: 0.2 variance: 0.2 }",
        ((1, 6, 9, 8), (1, 3, 90, 100)),
    ),
    Case(
        "step",
        "PriorBox",
        "prior_box_param { min_size: 20 aspect_ratio: 2 aspect_ratio: 3 flip: false clip: false variance: 0.1 "
        "step: 16 offset: 0.3 }",
        ((1, 6, 4, 5), (1, 3, 90, 100)),
    ),
    Case("extents", "Interp", "interp_param { height: 17 width: 20 }"),
    Case("zoom", "Interp", "interp_param { zoom_factor: 2 }"),
    Case("groups", "ShuffleChannel", "shuffle_channel_param { group: 3 }"),
)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_a_layer(case: Case, rng: np.random.Generator):
    inputs = {f"in{i}": rng.uniform(-2, 2, shape).astype(np.float32) for i, shape in enumerate(case.bottoms)}
    low = 0.5 if case.positive else -1
    weights = [rng.uniform(low, 1, shape).astype(np.float32) for shape in case.weights]
    blobs = {"out": weights} if weights else {"another": [np.ones(1)]}
    tops = case.tops.split()
    # OpenCV gives out what layers make, by the layer's name: every one of several tops ends in a layer of its own.
    ends = [layer("Power", bottoms=top, tops=f"{top}_end", name=f"{top}_end") for top in tops if len(tops) > 1]
    text = definition(
        layer(case.type, case.parameters, bottoms=" ".join(inputs), tops=case.tops) + "".join(ends),
        **{name: array.shape for name, array in inputs.items()},
    )
    names = [f"{top}_end" for top in tops] if ends else tops
    actual = outputs_of(imported(text, blobs), **inputs)
    assert sorted(actual) == sorted(names)
    for name, expected in zip(names, by_opencv(text, blobs, names, **inputs), strict=True):
        assert_close(actual[name], expected, 1e-5)


def test_a_network_in_place(rng: np.random.Generator):
    """Branches, layers in place, and a top that is named like another layer."""
    text = definition(
        layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }", tops="x", name="c1")
        + layer("BatchNorm", bottoms="x", tops="x", name="n1")
        + layer("Scale", "scale_param { bias_term: true }", bottoms="x", tops="x", name="s1")
        + layer("ReLU", bottoms="x", tops="x", name="r1")
        + layer("Convolution", "convolution_param { num_output: 4 kernel_size: 1 }", bottoms="x", tops="c1", name="c2")
        + layer("Eltwise", bottoms="x c1", tops="y", name="e")
        + layer("Dropout", bottoms="y", tops="y", name="d")
        + layer("InnerProduct", "inner_product_param { num_output: 3 }", bottoms="y", tops="z", name="ip")
        + layer("Softmax", bottoms="z", tops="p", name="prob"),
        data=(2, 3, 6, 5),
    )

    def draw(*shape: int, low: float = -1.0) -> np.ndarray:
        return rng.uniform(low, 1, shape).astype(np.float32)

    blobs = {
        "c1": [draw(4, 3, 3, 3), draw(4)],
        "n1": [draw(4), draw(4, low=0.5), draw(1, low=0.5)],
        "s1": [draw(4), draw(4)],
        "c2": [draw(4, 4, 1, 1), draw(4)],
        "ip": [draw(3, 120), draw(3)],
    }
    x = draw(2, 3, 6, 5)
    network = imported(text, blobs)
    assert list(outputs_of(network, data=x)) == ["p"]
    (expected,) = by_opencv(text, blobs, ["prob"], data=x)
    assert_close(outputs_of(network, data=x)["p"], expected, 1e-5)

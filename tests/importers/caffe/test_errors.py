"""What is wrong is said: file, layer, parameter, expectation, finding, and what to do."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pytest

from caffe_models import definition, imported, layer, model
from tensorwright.base.errors import ImportFailure
from tensorwright.importers.caffe import read_mean, read_network
from tensorwright.importers.caffe.blobs import model_messages
from tensorwright.importers.failures import UnsupportedNodes

IMAGE = (1, 4, 6, 6)
NOTHING = model({"none": [np.zeros(1)]})


def failure(text: bytes | str, weights: bytes | None = NOTHING, **options) -> str:
    with pytest.raises(ImportFailure) as caught:
        read_network(text, weights, **options)
    return str(caught.value)


def conv(parameters: str) -> tuple[str, str]:
    return "Convolution", f"convolution_param {{ {parameters} }}"


WRONG = (
    (*conv("kernel_size: 3"), IMAGE, "convolution_param: num_output is required"),
    (*conv("num_output: 2"), IMAGE, "kernel_size is required"),
    (*conv("num_output: 2 kernel_size: 0"), IMAGE, r"kernel_size: expected at least 1, found \[0\]"),
    (*conv("num_output: 2 kernel_size: 9"), IMAGE, r"spatial axis 0 of x .*extent -2; the window exceeds"),
    (*conv("num_output: 2 kernel_size: 3 kernel_h: 3 kernel_w: 3"), IMAGE, "exclude each other"),
    (*conv("num_output: 2 kernel_h: 3"), IMAGE, "expected both kernel_h and kernel_w"),
    (*conv("num_output: 2 kernel_h: 3 kernel_w: 3"), (1, 4, 6), "2 spatial axes, the bottom has 1"),
    (*conv("num_output: 2 kernel_size: [3, 3, 3]"), IMAGE, "expected 1 or 2 values, found 3"),
    (*conv("num_output: 3 kernel_size: 3 group: 2"), IMAGE, "divisor of the 4 channels .* num_output 3, found 2"),
    (*conv("num_output: 0 kernel_size: 3"), IMAGE, "num_output: expected at least 1"),
    (*conv("num_output: 2 kernel_size: 3 axis: 9"), IMAGE, "axis 9 is outside of a tensor of rank 4"),
    ("Pooling", "", IMAGE, "kernel_size, or both kernel_h and kernel_w, is required"),
    ("Pooling", "pooling_param { kernel_size: 2 pad: 2 }", IMAGE, "pad has to be smaller than the kernel"),
    ("Pooling", "pooling_param { global_pooling: true kernel_size: 2 }", IMAGE, "exclude each other"),
    ("Pooling", "pooling_param { global_pooling: true pad: 1 }", IMAGE, "pad has to be 0"),
    ("Pooling", "pooling_param { kernel_size: 2 }", (4, 6), r"4 axes, found float32\[4×6\]"),
    ("Pooling", "pooling_param { kernel_size: 2 pad: 1 pool: STOCHASTIC }", IMAGE, "no padding"),
    ("Eltwise", "", IMAGE, "at least 2 bottoms, found 1"),
    ("ReLU", "", (), None),
    ("LRN", "lrn_param { local_size: 4 }", IMAGE, "odd number, found 4"),
    ("Softmax", "softmax_param { axis: 4 }", IMAGE, "axis 4 is outside"),
    ("Reshape", "reshape_param { shape { dim: -1 dim: -1 } }", IMAGE, "at most one -1"),
    ("Reshape", "reshape_param { shape { dim: 7 } }", IMAGE, "does not hold the elements"),
    ("Reshape", "reshape_param { shape { dim: 7 dim: -1 } }", IMAGE, "does not hold the elements"),
    ("Reshape", "reshape_param { shape { dim: 1 dim: 1 dim: 1 dim: 1 dim: 0 } }", IMAGE, "only 4 axes to keep"),
    ("Reshape", "reshape_param { shape { dim: -2 } }", IMAGE, "at least -1, found -2"),
    ("Reshape", "reshape_param { axis: 3 num_axes: 2 }", IMAGE, "reach beyond"),
    ("Permute", "permute_param { order: 1 order: 1 }", IMAGE, r"at most once, found \[1, 1\]"),
    ("Flatten", "flatten_param { axis: 2 end_axis: 1 }", IMAGE, "comes after"),
    ("Slice", "slice_param { axis: 2 slice_point: 9 }", IMAGE, "slice_point: expected 0 ascending values"),
    ("Tile", "", IMAGE, "tile_param: tiles is required"),
    ("Tile", "tile_param { tiles: 0 }", IMAGE, "tiles: expected at least 1"),
    ("Clip", "clip_param { min: 0 }", IMAGE, "max is required"),
    ("Exp", "exp_param { base: -2 }", IMAGE, "base: expected a positive number"),
    ("Log", "log_param { base: 1 }", IMAGE, "other than 1"),
    ("ArgMax", "argmax_param { top_k: 0 }", IMAGE, "top_k: expected 1 to 144, found 0"),
    ("ArgMax", "argmax_param { axis: 1 top_k: 5 }", IMAGE, "top_k: expected 1 to 4, found 5"),
    ("ShuffleChannel", "shuffle_channel_param { group: 3 }", IMAGE, "divisor of the 4 channels"),
    ("Interp", "", IMAGE, "expected height and width"),
    ("Interp", "interp_param { pad_beg: 1 zoom_factor: 2 }", IMAGE, "at most 0"),
    ("Upsample", "upsample_param { scale: 0 }", IMAGE, None),
    ("PriorBox", "", IMAGE, "expected 2 bottoms, found 1"),
    ("InnerProduct", "inner_product_param { num_output: 4294967295 }", IMAGE, None),
    ("Embed", "", IMAGE, "input_dim, num_output is required"),
    ("Embed", "embed_param { num_output: 0 input_dim: 2 }", IMAGE, "at least 1, found 0 and 2"),
    ("SPP", "", IMAGE, "pyramid_height is required"),
    ("SPP", "spp_param { pyramid_height: 11 }", IMAGE, "expected 1 to 10, found 11"),
    ("SPP", "spp_param { pyramid_height: 4 }", IMAGE, "pad has to be smaller than the kernel"),
    ("LSTM", "recurrent_param { num_output: 3 }", IMAGE, "expected 2 or more bottoms, found 1"),
)  # fmt: skip


@pytest.mark.parametrize(("type", "parameters", "shape", "message"), [case for case in WRONG if case[3]])
def test_a_wrong_parameter(type: str, parameters: str, shape: tuple[int, ...], message: str):
    found = failure(definition(layer(type, parameters, name="it"), data=shape), None)
    assert found.startswith(f"definition: layer 'it' ({type}): ")
    assert re.search(message, found), found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layer("ReLU", bottoms="dta"), r"layer 'out' \(ReLU\): bottom 'dta' is made by no .* mean 'data'\?"),
        (layer("ReLU", bottoms="b", tops="a") + layer("ReLU", bottoms="a", tops="b"), "'b' is made only later"),
        (layer("ReLU", bottoms="out"), "'out' is made only later.*without cycles"),
        (layer("ReLU", tops="a b"), "expected 1 tops, found 2"),
        (layer("ReLU", "relu_param { negative_slope: x }"), r"^definition: line 3, column \d+:"),
        (layer("Pooling", "pooling_param { pool: MEDIAN }"), "line 3.*no value named MEDIAN"),
        (layer("Convolution", "convolution_param { pad: -1 }"), "line 3"),
        ("layer { name: 3 }", "line 3.*Expected string"),
        ("layer {", "line 3"),
        ('layers { layer { name: "old" type: "odd" } }', "layer 'old': the type 'odd' is not one of the first generat"),
        ('layers { layer { type: "relu" } } layers { name: "o" type: RELU }', "'o': is of a later generation"),
        (
            """layers { layer { type: "padding" } bottom: "data" top: "p" }
            layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }""",
            "layer 'r' .*: reads 'p' of a layer of padding; only convolution and pooling",
        ),
        (layer("ReLU") + 'layers { name: "o" type: RELU }', "two generations"),
        (layer("ReLU", "include { phase: TEST } exclude { phase: TRAIN }"), "include and exclude"),
        ('input: "data"', "has 2 input and 1 input_shape"),
        ("layer { }", r"1 layer is not supported:\n *type +count +layers +reason\n +1 +''"),
    ],
)  # fmt: skip
def test_a_wrong_definition(text: str, message: str):
    assert re.search(message, failure(definition(text, data=IMAGE)))


def test_inputs_are_checked():
    relu = layer("ReLU").encode()
    assert "has 1 input and 3 input_dim" in failure(b'input: "data" input_dim: 1 input_dim: 2 input_dim: 3 ' + relu)
    assert "input 'data': the definition does not say its shape" in failure(b'input: "data"' + relu)
    assert "at least 1, found [1, 0]" in failure(definition("", data=(1, 0)))
    assert "at least 1, found [-1, 3]" in failure(definition("", data=(-1, 3)))
    twice = layer("Input", "input_param { shape { dim: 1 } }", bottoms="", tops="data")
    assert "input 'data' is declared twice" in failure(definition(twice, data=(1,)))


def test_everything_unsupported_is_reported_at_once():
    text = definition(
        layer("Im2col", "convolution_param { num_output: 3 }", name="l1", tops="a")
        + layer("ReLU", name="r", bottoms="a", tops="a")
        + layer("Im2col", name="l2", bottoms="a", tops="b")
        + layer("Python", name="p", bottoms="b", tops="c")
        + layer("SoftmaxWithLoss", name="loss", bottoms="data data", tops="d"),
        data=(2, 3),
    )
    with pytest.raises(UnsupportedNodes) as caught:
        read_network(text)
    found = str(caught.value)
    assert "definition: 4 layers are not supported" in found
    assert re.search(r"Im2col +2 +'l1', 'l2' +no such layer type", found)
    assert re.search(r"SoftmaxWithLoss +1 +'loss' +it computes a loss; write a Softmax", found)
    assert [f.node for f in caught.value.findings] == ["l1", "l2", "p", "loss"]


IP = definition(layer("InnerProduct", "inner_product_param { num_output: 2 }", name="ip"), data=(2, 3))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(2, 4), (2,)], r"layer 'ip' \(InnerProduct\): weights: expected 2×3 = 6 values, model has 2×4 = 8"),
        ([(3, 2), (2,)], r"weights: expected 2×3 = 6 values, model has 3×2 = 6"),
        ([(2, 3), (1,)], r"bias: expected 2 = 2 values, model has 1 = 1"),
        ([(2, 3)], r"needs blob 1 \(bias\), model has 1 for it.*bias_term"),
        ([(2, 3), (2,), (2,)], r"uses 2 blobs, model has 3 for it.*bias_term"),
    ],
)
def test_weights_that_do_not_fit(shapes, message: str):
    blobs = {"ip": [np.zeros(shape, np.float32) for shape in shapes]}
    assert re.search(message, failure(IP, model(blobs)))


def test_layers_without_weights_are_reported_together():
    text = definition(
        layer("InnerProduct", "inner_product_param { num_output: 2 }", name="fc1", tops="a")
        + layer("InnerProduct", "inner_product_param { num_output: 2 }", name="fc2", bottoms="a", tops="b")
        + layer("PReLU", name="act", bottoms="data", tops="c"),
        data=(2, 3),
    )
    found = failure(text, model({"fc_1": [np.zeros((2, 3))]}))
    assert (
        "model: has no weights for 2 layers of definition: 'fc1', 'act'; it has 'fc_1'; did you mean 'fc_1'?" in found
    )


def test_a_model_that_is_none(tmp_path: Path):
    assert "model: empty; expected a Caffe model" in failure(IP, b"")
    assert re.search("found HDF5; .*with snapshot_format: BINARYPROTO", failure(IP, b"\x89HDF\r\n\x1a\nabc"))
    assert "found no layers in it" in failure(IP, b"\x0a\x03abc")
    assert re.search("not a Caffe model .*, or damaged or truncated: ", failure(IP, IP))
    assert "cannot be read (No such file" in failure(IP, tmp_path / "none.caffemodel")
    assert "found a folder; give the file" in failure(IP, tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert "not an ordinary file" in failure(IP, tmp_path / "pipe")


def test_a_definition_that_is_none(tmp_path: Path):
    weights = model({"ip": [np.zeros((2, 3)), np.zeros(2)]})
    assert "found binary data; is it the file with the weights?" in failure(weights, weights)
    assert "found no layers in it" in failure(b"")
    assert "found no layers in it" in failure(b'name: "empty"')
    assert "cannot be read" in failure(tmp_path / "none.prototxt")
    assert "of lines up to 65536 characters, found one of 65537" in failure(b"a" * 65537)
    (tmp_path / "large.prototxt").write_bytes(b" " * (1 << 21) + b"x")
    assert "of at most 2097152 bytes, found 2097153" in failure(tmp_path / "large.prototxt")


def blob_failure(**fields) -> str:
    net = model_messages()["NetParameter"]()
    blob = net.layer.add(name="ip").blobs.add()
    for name, value in fields.items():
        if name == "shape":
            blob.shape.dim.extend(value)
        elif name == "data":
            blob.data.extend(value)
        else:
            setattr(blob, name, value)
    return failure(IP, net.SerializeToString())


def test_blobs_that_lie():
    assert "layer 'ip', blob 0: its shape 2×3 needs 6 elements, found 5" in blob_failure(shape=(2, 3), data=[0.0] * 5)
    assert "negative extent" in blob_failure(shape=(-2, -3), data=[0.0] * 6)
    huge = blob_failure(shape=(1 << 62, 1 << 62, 4), data=[0.0] * 4)
    assert f"needs {1 << 126} elements, found 4" in huge
    assert f"needs {1 << 124} elements, found 0" in blob_failure(shape=(1 << 62, 1 << 62))
    assert "needs 4611686014132420609 elements" in blob_failure(
        num=(1 << 31) - 1, channels=(1 << 31) - 1, height=1, width=1
    )
    assert "found 7" in blob_failure(raw_data_type=7, raw_data=b"abcd")
    assert "3 bytes are no whole number of float32" in blob_failure(raw_data_type=1, raw_data=b"abc")


def test_a_mean_image_that_is_none():
    blob = model_messages()["BlobProto"]
    for data, message in (
        (b"", "empty; expected a Caffe mean image"),
        (b"\xff\xff\xff", "not a Caffe mean image .*, or damaged"),
        (blob(num=1).SerializeToString(), "without elements"),
        (blob(data=[1.0, 2.0]).SerializeToString(), "without shape"),
        (blob(num=1, channels=1, height=2, width=2, data=[1.0]).SerializeToString(), "needs 4 elements, found 1"),
    ):
        with pytest.raises(ImportFailure, match=message):
            read_mean(data)


@pytest.mark.parametrize(
    "text",
    [
        definition(layer("InnerProduct", "inner_product_param { num_output: 4294967295 }"), data=(1, 100000)),
        definition(
            layer("Tile", "tile_param { tiles: 2147483647 }")
            + layer("Tile", "tile_param { tiles: 2147483647 }", bottoms="out"),
            data=(1, 9),
        ),
        definition(layer("Interp", "interp_param { height: 2147483647 width: 2147483647 }"), data=IMAGE),
        definition(
            layer("PriorBox", "prior_box_param { min_size: 1 }", bottoms="data data"), data=(1, 1, 1 << 20, 1 << 20)
        ),
        definition(
            layer("Pooling", "pooling_param { kernel_size: 4294967295 pad: 4294967294 }", tops="a b"), data=IMAGE
        ),
        definition(
            layer("ArgMax", "argmax_param { top_k: 4294967295 }"), data=(1, 1 << 45)
        ),
        definition(layer("ReLU"), data=(1 << 40, 1 << 40)),
        definition(layer("Upsample", "upsample_param { scale: 4294967295 }"), data=IMAGE),
    ],
)  # fmt: skip
def test_numbers_that_cannot_be_meant(text: bytes):
    """Nothing of that size is ever allocated."""
    assert failure(text, None)


def test_nesting_without_end():
    deep = b"layer { a { " * 2000 + b"} }" * 2000
    assert "line 1: messages are nested more than 64 deep" in failure(deep)
    inner = b""
    for _ in range(500):
        size = len(inner)
        varint = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
        inner = b"\x3a" + varint + inner
    assert failure(IP, b"\xa2\x06" + bytes([len(inner) & 127 | 128, len(inner) >> 7]) + inner)


def test_names_that_are_no_text():
    data = b"\xa2\x06\x04\x0a\x02\xff\xfe"
    assert "has no weights for 1 layer of definition" in failure(IP, data)
    strange = IP.replace(b'"ip"', b'"\\377"')
    assert "line 3" in failure(strange, data)


def test_imported_networks_say_what_they_are():
    assert imported(definition(layer("ReLU"), data=IMAGE)).graph.name == "test"

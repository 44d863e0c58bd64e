"""Definitions and models as they are written: generations, encodings, inputs, phases, names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from caffe_models import definition, imported, layer, model, outputs_of, put
from cases.case import assert_close
from tensorwright.base.errors import ImportFailure
from tensorwright.importers.caffe import import_caffe, read_mean, read_network
from tensorwright.importers.caffe.blobs import model_messages, read_model
from tensorwright.importers.protobuf import message_classes
from tensorwright.tensor.dim import symbol
from tensorwright.tensor.dtype import FLOAT16, FLOAT32, INT8

IP = "inner_product_param { num_output: 2 }"
FULL = definition(layer("InnerProduct", IP, name="ip"), data=(2, 3))


@pytest.fixture
def blobs(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    return {"ip": [rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((2, 3), (2,))]}


@pytest.fixture
def x(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(-1, 1, (2, 3)).astype(np.float32)


def expected(blobs, x) -> np.ndarray:
    return x @ blobs["ip"][0].T + blobs["ip"][1]


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("encoding", ["data", "double_data", "raw double", "raw float", "raw half"])
def test_every_encoding_of_blobs(blobs, x, encoding: str, legacy: bool, old: bool):
    data = model(blobs, encoding=encoding, legacy=legacy, old=old)
    found = outputs_of(read_network(FULL, data), data=x)["out"]
    assert_close(found, expected(blobs, x), 1e-3 if encoding == "raw half" else 1e-6)


def test_numbers_that_are_not_packed(blobs, x):
    loose = message_classes(
        "loose",
        """
        Net
            100 layer Layer repeated
        Layer
            1 name string
            7 blobs Blob repeated
        Blob
            5 data float repeated
            8 double_data double repeated
            7 shape Shape
        Shape
            1 dim int64 repeated
        """,
    )
    net = loose["Net"]()
    proto = net.layer.add(name="ip")
    put(proto.blobs.add(), blobs["ip"][0])
    put(proto.blobs.add(), blobs["ip"][1], encoding="double_data")
    data = net.SerializeToString()
    assert len(data) > len(model(blobs))
    assert_close(outputs_of(read_network(FULL, data), data=x)["out"], expected(blobs, x), 1e-6)


def test_packed_numbers_in_several_pieces(blobs, x):
    """Protocol buffers may cut a packed field anywhere between numbers; readers join the pieces."""
    whole = model_messages()["NetParameter"].FromString(model(blobs))
    first = whole.layer[0].blobs[0].SerializeToString()
    start = first.index(b"\x2a\x18")
    numbers = first[start + 2 : start + 2 + 24]
    cut = first[:start] + b"\x2a\x08" + numbers[:8] + b"\x2a\x10" + numbers[8:] + first[start + 26 :]
    second = whole.layer[0].blobs[1].SerializeToString()
    inner = b"\x0a\x02ip" + b"".join(b"\x3a" + bytes([len(part)]) + part for part in (cut, second))
    found = read_network(FULL, b"\xa2\x06" + bytes([len(inner)]) + inner)
    assert_close(outputs_of(found, data=x)["out"], expected(blobs, x), 1e-6)


def test_paths_and_bytes(tmp_path: Path, blobs, x):
    (tmp_path / "net.prototxt").write_bytes(FULL)
    (tmp_path / "net.caffemodel").write_bytes(model(blobs))
    for root in (tmp_path, str(tmp_path)):
        graph = import_caffe(Path(root) / "net.prototxt", str(Path(root) / "net.caffemodel"))
        assert [name for name, _ in graph.outputs] == ["out"]
        assert graph.name == "test"


def test_a_definition_of_the_previous_generation(rng: np.random.Generator):
    text = b"""
    input: "data" input_dim: 1 input_dim: 3 input_dim: 4 input_dim: 5
    layers { name: "c" type: CONVOLUTION bottom: "data" top: "c" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
             convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "xavier" } } }
    layers { name: "r" type: RELU bottom: "c" top: "c" }
    layers { name: "l" type: SOFTMAX_LOSS bottom: "c" top: "train_only" include { phase: TRAIN } }
    layers { name: "p" type: POOLING bottom: "c" top: "p" pooling_param { pool: AVE global_pooling: true } }
    """
    weights = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((2, 3, 3, 3), (2,))]
    network = read_network(text, model({"c": weights}, old=True, legacy=True))
    assert network.warnings == ()
    x = rng.uniform(-1, 1, (1, 3, 4, 5)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(x[0], (3, 3), (1, 2))
    c = np.maximum(np.einsum("cyxij,ocij->oyx", windows, weights[0]) + weights[1].reshape(2, 1, 1), 0)
    assert_close(outputs_of(network, data=x)["p"], c.mean((1, 2)).reshape(1, 2, 1, 1), 1e-5)


def test_inputs_in_all_ways():
    shapes = {"a": (1, 2), "b": (3,)}
    old = b'input: "a" input_dim: 1 input_dim: 2 input_dim: 3 input_dim: 4 layer { type: "ReLU" bottom: "a" top: "o" }'
    (entry,) = read_network(old).graph.inputs
    assert entry[1].type.shape == (1, 2, 3, 4)
    assert entry[1].type.dtype == FLOAT32
    several = layer("Input", "input_param { shape { dim: 1 dim: 2 } shape { dim: 3 } }", bottoms="", tops="a b")
    shared = layer("Input", "input_param { shape { dim: 1 dim: 2 } }", bottoms="", tops="a b")
    declared = definition("", **shapes)
    for text, types in (
        (several.encode(), shapes),
        (shared.encode(), {"a": (1, 2), "b": (1, 2)}),
        (declared, shapes),
    ):
        use = layer("ReLU", bottoms="a").encode() + layer("ReLU", bottoms="b", tops="out2").encode()
        found = read_network(text + use).graph
        assert {name: value.type.shape for name, value in found.inputs} == types
        assert [name for name, _ in found.outputs] == ["out", "out2"]
    images = layer(
        "MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }", bottoms="", tops="a b"
    )
    found = read_network((images + layer("ReLU", bottoms="a")).encode()).graph
    assert [value.type.shape for _, value in found.inputs] == [(2, 3, 4, 5), (2,)]


def test_shapes_and_batch_take_the_place_of_declared_ones():
    batch = symbol("batch", 1, 1, 8)
    body = layer("Reshape", "reshape_param { shape { dim: 2 dim: -1 } }")
    text = definition(body, data=(2, 3, 4))
    assert read_network(text, batch=batch).graph.outputs[0][1].type.shape == (batch, 12)
    assert read_network(text, shapes={"data": (2, 5)}).graph.outputs[0][1].type.shape == (2, 5)
    undeclared = b'input: "data"' + layer("ReLU").encode()
    assert read_network(undeclared, shapes={"data": (batch, 7)}).graph.outputs[0][1].type.shape == (batch, 7)
    data = layer("Data", 'data_param { source: "somewhere" }', bottoms="", tops="data label")
    loaded = (data + layer("ReLU")).encode()
    found = read_network(loaded, shapes={"data": (1, 3), "label": (1,)}).graph
    assert [name for name, _ in found.inputs] == ["data", "label"]
    with pytest.raises(ImportFailure, match=r"'layer' *\n|Data.*1.*'out'.*it reads training data"):
        read_network(loaded)
    with pytest.raises(ImportFailure, match="no input 'x'; it has 'data'"):
        read_network(text, shapes={"x": (1,)})


RULES = {
    "a": "include { phase: TRAIN }",
    "b": "include { phase: TEST min_level: 1 max_level: 2 }",
    "c": 'include { stage: "deploy" not_stage: "x" }',
    "d": "exclude { phase: TRAIN } exclude { min_level: 1 }",
    "e": "include { phase: TRAIN } include { max_level: -1 }",
    "f": "phase: TRAIN",
}
PHASES = definition("".join(layer("ReLU", rules, name=name, tops=name) for name, rules in RULES.items()), data=(1,))


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, "d f"),
        ({"phase": "TRAIN"}, "a e f"),
        ({"level": 1}, "b f"),
        ({"level": 3}, "f"),
        ({"level": -1}, "d e f"),
        ({"stages": ("deploy",)}, "c d f"),
        ({"stages": ("deploy", "x")}, "d f"),
    ],
)
def test_phases_levels_and_stages(options, kept: str):
    assert [name for name, _ in read_network(PHASES, **options).graph.outputs] == kept.split()


def test_the_state_in_the_definition():
    text = b'state { level: 1 stage: "s" }' + definition(
        layer("ReLU", 'include { stage: "s" min_level: 1 }', name="a"), data=(1,)
    )
    assert [name for name, _ in read_network(text).graph.outputs] == ["out"]


def test_a_blob_stands_for_its_last_writer(rng: np.random.Generator):
    text = definition(
        layer("Power", "power_param { shift: 1 }", name="p", tops="x")
        + layer("ReLU", name="r", bottoms="x", tops="x")
        + layer("Dropout", name="d", bottoms="x", tops="y")
        + layer("Power", "power_param { scale: 2 }", name="q", bottoms="data", tops="data"),
        data=(4,),
    )
    network = imported(text)
    assert network.names["x"].name == "r"
    assert network.names["y"] is not network.names["x"]
    x = rng.uniform(-2, 1, 4).astype(np.float32)
    found = outputs_of(network, data=x)
    assert sorted(found) == ["data", "y"]
    assert_close(found["y"], np.maximum(x + 1, 0), 1e-6)
    assert_close(found["data"], 2 * x, 1e-6)


def test_weights_are_found_by_name_not_by_order(rng: np.random.Generator, blobs, x):
    other = [rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((2, 3), (2,))]
    data = {"another": other, **blobs, "ip_train": other}
    assert_close(outputs_of(imported(FULL, data), data=x)["out"], expected(blobs, x), 1e-6)


def test_random_weights(x):
    first, again = read_network(FULL), read_network(FULL)
    assert "no model file is given: all weights are random, 8 values" in first.warnings[0]
    one, two = outputs_of(first, data=x)["out"], outputs_of(again, data=x)["out"]
    np.testing.assert_array_equal(one, two)
    assert np.abs(one).max() > 0
    with pytest.warns(UserWarning, match="all weights are random"):
        import_caffe(FULL)


def test_weights_of_two_bytes(blobs, x):
    data = model(blobs)
    network = read_network(FULL, data, dtype=FLOAT16)
    constants = [value for value in network.graph.order() if value.op.name == "ConstantTensor"]
    assert {value.type.dtype for value in constants} == {FLOAT16}
    rounded = {"ip": [array.astype(np.float16).astype(np.float32) for array in blobs["ip"]]}
    assert_close(outputs_of(network, data=x)["out"], expected(rounded, x), 1e-6)
    random = read_network(FULL, dtype=FLOAT16)
    assert outputs_of(random, data=x)["out"].dtype == np.float32
    blobs["ip"][0][1, 2] = 1e5
    with pytest.raises(ImportFailure, match=r"layer 'ip' \(InnerProduct\): weights: 100000.0 is outside .* float16"):
        read_network(FULL, model(blobs), dtype=FLOAT16)
    with pytest.raises(ImportFailure, match="float32 or float16, found int8"):
        read_network(FULL, dtype=INT8)


def test_mean_images(tmp_path: Path, rng: np.random.Generator):
    image = rng.uniform(0, 255, (1, 3, 4, 5)).astype(np.float32)
    for legacy in (False, True):
        for encoding in ("data", "double_data"):
            proto = model_messages()["BlobProto"]()
            put(proto, image, legacy=legacy, encoding=encoding)
            (tmp_path / "mean.binaryproto").write_bytes(proto.SerializeToString())
            found = read_mean(tmp_path / "mean.binaryproto").data
            assert found.dtype == np.float32
            np.testing.assert_array_equal(found, image)
    flat = model_messages()["BlobProto"]()
    put(flat, image[0])
    assert read_mean(flat.SerializeToString()).data.shape == (1, 3, 4, 5)


def test_unknown_fields_are_named_and_have_no_effect():
    text = definition(
        layer("Convolution", "convolution_param { num_output: 1 kernel_size: 1 engine: CAFFE spongy: 3\n}\nmood: GOOD")
        + layer("ReLU", "pooling_param { pool: AVE }", name="r", bottoms="out", tops="out"),
        data=(1, 1, 2, 2),
    )
    found = read_network(text, model({"out": [np.ones((1, 1, 1, 1)), np.zeros(1)]})).warnings
    assert len(found) == 3
    assert "line 3: field 'spongy' of Convolution is not known" in found[0]
    assert "line 5: field 'mood' of Layer is not known" in found[1]
    assert "layer 'r' (ReLU): pooling_param has no effect" in found[2]


def test_many_unknown_fields_are_counted():
    found = read_network(definition(layer("ReLU", "a: 1\n" * 25), data=(1,))).warnings
    assert len(found) == 21
    assert found[-1] == "definition: 5 more fields are not known and have no effect"


def test_blobs_are_read_without_copies(blobs):
    found = read_model(model(blobs)).blobs["ip"]
    assert [blob.shape for blob in found] == [(2, 3), (2,)]
    assert not found[0].elements.flags.owndata


def first_generation(lines: str) -> bytes:
    return b'name: "test" input: "data" input_dim: 1 input_dim: 3 input_dim: 7 input_dim: 7\n' + lines.encode()


def test_the_first_generation_of_the_format(rng):
    old = first_generation("""
        layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "padded" }
        layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 3 stride: 2 group: 1
                         weight_filler { type: "gaussian" std: 0.01 } blobs_lr: 1. blobs_lr: 2. }
                 bottom: "padded" top: "conv1" }
        layers { layer { name: "relu1" type: "relu" } bottom: "conv1" top: "conv1" }
        layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 pad: 1 }
                 bottom: "conv1" top: "p" }
        layers { layer { name: "norm1" type: "lrn" local_size: 3 alpha: 0.5 beta: 0.6 } bottom: "p" top: "norm1" }
        layers { layer { name: "drop" type: "dropout" dropout_ratio: 0.5 } bottom: "norm1" top: "norm1" }
        layers { layer { name: "two" type: "concat" concat_dim: 2 } bottom: "norm1" bottom: "norm1" top: "two" }
        layers { layer { name: "fc" type: "innerproduct" num_output: 5 biasterm: false } bottom: "two" top: "fc" }
        layers { layer { name: "prob" type: "softmax" } bottom: "fc" top: "prob" }
    """)
    new = definition(
        layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 stride: 2 pad: 2 }", name="conv1")
        + layer("ReLU", bottoms="out", tops="out", name="relu1")
        + layer("Pooling", "pooling_param { pool: AVE kernel_size: 3 stride: 2 pad: 1 }", bottoms="out", tops="p")
        + layer("LRN", "lrn_param { local_size: 3 alpha: 0.5 beta: 0.6 }", bottoms="p", tops="n", name="n")
        + layer("Concat", "concat_param { axis: 2 }", bottoms="n n", tops="two", name="two")
        + layer(
            "InnerProduct",
            "inner_product_param { num_output: 5 bias_term: false }",
            bottoms="two",
            tops="fc",
            name="fc",
        )
        + layer("Softmax", bottoms="fc", tops="prob", name="prob"),
        data=(1, 3, 7, 7),
    )
    blobs = {
        "conv1": [rng.uniform(-1, 1, shape).astype(np.float32) for shape in ((4, 3, 3, 3), (4,))],
        "fc": [rng.uniform(-1, 1, (5, 4 * 6 * 3)).astype(np.float32)],
    }
    net = model_messages()["NetParameter"]()
    for name, arrays in blobs.items():
        stored = net.layers.add().layer
        stored.name = name
        for array in arrays:
            put(stored.blobs.add(), array, legacy=True)
    x = rng.uniform(-1, 1, (1, 3, 7, 7)).astype(np.float32)
    upgraded = read_network(old, net.SerializeToString())
    assert upgraded.warnings == ()
    np.testing.assert_array_equal(
        outputs_of(upgraded, data=x)["prob"], outputs_of(imported(new, blobs), data=x)["prob"]
    )

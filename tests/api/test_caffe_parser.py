"""Caffe networks parsed into network definitions, edited, and built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tensorwright as tw
from caffe_models import definition, layer, model, put
from cases.case import assert_close
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.caffe.blobs import model_messages

EXPLICIT = 1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH)
TEXT = definition(
    layer("Convolution", "convolution_param { num_output: 4 kernel_size: 3 pad: 1 }", name="conv", tops="conv")
    + layer("ReLU", name="relu", bottoms="conv", tops="conv")
    + layer("Pooling", "pooling_param { kernel_size: 3 stride: 2 }", name="pool", bottoms="conv", tops="pool")
    + layer("Reshape", "reshape_param { shape { dim: 5 dim: -1 } }", name="flat", bottoms="pool", tops="flat")
    + layer("InnerProduct", "inner_product_param { num_output: 3 }", name="ip", bottoms="flat", tops="ip")
    + layer("Softmax", name="prob", bottoms="ip", tops="prob"),
    data=(5, 2, 6, 6),
)


@pytest.fixture
def blobs(rng: np.random.Generator) -> dict[str, list[np.ndarray]]:
    shapes = {"conv": [(4, 2, 3, 3), (4,)], "ip": [(3, 36), (3,)]}
    return {name: [rng.uniform(-1, 1, s).astype(np.float32) for s in of] for name, of in shapes.items()}


@pytest.fixture
def messages() -> list[tuple[tw.Severity, str]]:
    return []


@pytest.fixture
def parser(messages) -> tw.CaffeParser:
    class Kept(tw.ILogger):
        def log(self, severity: tw.Severity, msg: str) -> None:
            messages.append((severity, msg))

    parser = tw.CaffeParser()
    parser.logger = Kept()
    return parser


def network(flags: int = 0) -> tw.NetworkDefinition:
    return tw.Builder().create_network(flags)


def by_hand(blobs, x: np.ndarray) -> dict[str, np.ndarray]:
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, [(0, 0)] * 2 + [(1, 1)] * 2), (3, 3), (2, 3))
    w, b = blobs["conv"]
    conv = np.maximum(np.einsum("ncyxij,ocij->noyx", windows.astype(np.float64), w) + b.reshape(4, 1, 1), 0)
    wide = np.pad(conv, [(0, 0)] * 2 + [(0, 1)] * 2)
    pool = np.lib.stride_tricks.sliding_window_view(wide, (3, 3), (2, 3))[:, :, ::2, ::2].max((-1, -2))
    ip = pool.reshape(len(x), -1) @ blobs["ip"][0].T + blobs["ip"][1]
    e = np.exp(ip - ip.max(1, keepdims=True))
    return {"conv": conv, "prob": e / e.sum(1, keepdims=True)}


def test_parse_maps_blobs_to_their_last_tensors(tmp_path: Path, parser, blobs, rng, messages):
    (tmp_path / "deploy.prototxt").write_bytes(TEXT)
    (tmp_path / "net.caffemodel").write_bytes(model(blobs))
    net = network()
    found = parser.parse(str(tmp_path / "deploy.prototxt"), tmp_path / "net.caffemodel", net, tw.float32)
    assert list(found) == ["data", "conv", "pool", "flat", "ip", "prob"]
    assert found.find("conv").name == "conv"
    assert found.find("conv").producer.name == "relu"
    assert found.find("nothing") is None
    assert net.num_outputs == 0
    assert net.name == "test"
    assert [found[name].shape for name in ("data", "pool", "flat", "prob")] == [(2, 6, 6), (4, 3, 3), (36,), (3,)]
    net.mark_output(found.find("prob"))
    net.mark_output(found["conv"])
    x = rng.uniform(-1, 1, (3, 2, 6, 6)).astype(np.float32)
    actual = evaluate_graph(net.to_graph(max_batch_size=4), {"data": x})
    for name, expected in by_hand(blobs, x).items():
        assert_close(actual[name], expected, 1e-5)
    assert messages == []


def test_explicit_batch_keeps_the_definition_s_shapes(parser, blobs):
    net = network(EXPLICIT)
    found = parser.parse_buffers(TEXT, model(blobs), net)
    assert found["data"].shape == (5, 2, 6, 6)
    assert found["prob"].shape == (5, 3)
    open_batch = network(EXPLICIT)
    found = parser.parse_buffers(TEXT, model(blobs), open_batch, shapes={"data": (tw.symbol("n", 1, 2, 8), 2, 6, 6)})
    assert found["prob"].shape == (-1, 3)
    smaller = network()
    wider = TEXT.replace(b"dim: 5 dim: -1", b"dim: 0 dim: -1")
    blobs["ip"][0] = blobs["ip"][0][:, :16]
    found = parser.parse_buffer(wider, model(blobs), smaller, shapes={"data": (2, 5, 4)})
    assert found["pool"].shape == (4, 2, 2)


@pytest.mark.parametrize("flags", [0, EXPLICIT])
def test_unknown_extents_get_their_range_at_the_build(parser, flags: int):
    text = definition(layer("Pooling", "pooling_param { kernel_size: 3 }", name="p", tops="p"), data=(5, 2, 6, 6))
    net = network(flags)
    found = parser.parse_buffers(text, None, net, shapes={"data": (2, -1, 6) if flags == 0 else (-1, 2, -1, 6)})
    assert found, parser.get_error(0)
    net.mark_output(found["p"])
    profile = tw.Builder().create_optimization_profile()
    profile.set_shape("data", (1, 2, 4, 6), (3, 2, 8, 6), (3, 2, 8, 6))
    graph = net.to_graph(profile.ranges)
    assert {symbol.max for symbol in graph.symbols()} == {3, 8}
    assert graph.outputs[0][1].type.tuning_shape == (3, 2, 6, 4)


@pytest.mark.parametrize("flags", [0, EXPLICIT])
def test_a_parsed_network_is_built_and_edited(parser, blobs, rng, flags: int):
    builder = tw.Builder()
    net = builder.create_network(flags)
    builder.max_batch_size = 5
    found = parser.parse_buffers(TEXT, model(blobs), net)
    doubled = net.add_elementwise(found["ip"], found["ip"], tw.ElementWiseOperation.SUM).get_output()
    doubled.name = "doubled"
    softmax = next(one for one in net if one.name == "prob")
    softmax.set_input(0, doubled)
    for tensor in (found["prob"], found["ip"], doubled):
        net.mark_output(tensor)
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    engine = builder.build_engine(net, config)
    x = rng.uniform(-1, 1, (5, 2, 6, 6)).astype(np.float32)
    prob, ip, twice = engine(x).values()
    assert_close(twice, 2 * ip, 1e-6)
    e = np.exp(twice - twice.max(1, keepdims=True))
    assert_close(prob, e / e.sum(1, keepdims=True), 1e-5)
    plain = by_hand(blobs, x)["prob"]
    e = np.exp(ip - ip.max(1, keepdims=True))
    assert_close(e / e.sum(1, keepdims=True), plain, 1e-5)


def test_weights_of_two_bytes_and_no_weights(parser, blobs, messages):
    net = network()
    found = parser.parse_buffers(TEXT, model(blobs), net, tw.float16)
    constants = [one.get_output().dtype for one in net if one.type is tw.LayerType.CONSTANT]
    assert {dtype.name for dtype in constants} == {"float16"}
    assert found["prob"].dtype == tw.float32
    assert parser.parse(Path("none.prototxt"), None, network()) is None
    messages.clear()
    assert parser.parse_buffers(TEXT, None, network()) is not None
    ((severity, message),) = messages
    assert severity == tw.Severity.WARNING
    assert "all weights are random" in message


def test_failures_are_logged_and_kept(parser, messages):
    unknown = definition(layer("Im2col", name="l") + layer("Python", name="p"), data=(1, 2))
    assert parser.parse_buffers(unknown, None, network()) is None
    assert parser.num_errors == 2
    error = parser.get_error(0)
    assert error.code() is tw.ErrorCode.UNSUPPORTED_NODE
    assert (error.node_name(), error.node_operator()) == ("l", "Im2col")
    assert "2 layers are not supported" in messages[0][1]
    assert messages[0][0] == tw.Severity.ERROR
    parser.clear_errors()
    assert parser.parse_buffers(b"layer {", None, network()) is None
    assert parser.get_error(0).code() is tw.ErrorCode.MODEL_DESERIALIZE_FAILED
    used = network()
    used.add_input("x", tw.float32, (1,))
    assert parser.parse_buffers(TEXT, None, used) is None
    assert "expected an empty network" in parser.get_error(1).desc()
    assert parser.parse_buffers(TEXT, None, network(), tw.int8) is None
    assert "float32 or float16" in parser.get_error(2).desc()


def test_mean_images(tmp_path: Path, parser, rng: np.random.Generator):
    image = rng.uniform(0, 255, (1, 3, 2, 2)).astype(np.float32)
    proto = model_messages()["BlobProto"]()
    put(proto, image, legacy=True)
    (tmp_path / "mean.binaryproto").write_bytes(proto.SerializeToString())
    found = parser.parse_binary_proto(tmp_path / "mean.binaryproto")
    assert found.get_dimensions() == (1, 3, 2, 2)
    np.testing.assert_array_equal(found.get_data(), image.reshape(-1))
    np.testing.assert_array_equal(found.get_data(4), image[0, 0].reshape(-1))
    assert parser.parse_binary_proto(tmp_path / "none") is None

"""Damaged and invented files: an error that says so, never another exception, in bounded time and memory.

`CAFFE_FUZZ` in the environment multiplies the number of examples.
"""

from __future__ import annotations

import contextlib
import os

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from caffe_models import definition, layer, model, put
from tensorwright.base.errors import ImportFailure
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.caffe import Import, read_mean, read_network
from tensorwright.importers.caffe.blobs import model_messages
from tensorwright.importers.caffe.registry import handlers
from tensorwright.tensor.dim import tuning_value

MORE = int(os.environ.get("CAFFE_FUZZ", "1"))
FEW = settings(max_examples=60 * MORE)

TEXT = definition(
    layer("Convolution", "convolution_param { num_output: 2 kernel_size: 3 pad: 1 group: 1 }", name="c", tops="c")
    + layer("BatchNorm", "batch_norm_param { eps: 1e-3 }", name="b", bottoms="c", tops="c")
    + layer("Scale", "scale_param { bias_term: true axis: 1 }", name="s", bottoms="c", tops="c")
    + layer("ReLU", "relu_param { negative_slope: 0.1 } include { phase: TEST }", name="r", bottoms="c", tops="c")
    + layer("Pooling", "pooling_param { pool: AVE kernel_size: 2 stride: 2 }", name="p", bottoms="c", tops="p")
    + layer("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", name="f", bottoms="p", tops="f")
    + layer("InnerProduct", "inner_product_param { num_output: 3 }", name="ip", bottoms="f", tops="ip")
    + layer("Softmax", name="prob", bottoms="ip", tops="prob"),
    data=(1, 2, 4, 4),
)
ONES = {
    "c": [np.ones((2, 2, 3, 3)), np.ones(2)],
    "b": [np.ones(2), np.ones(2), np.ones(1)],
    "s": [np.ones(2), np.ones(2)],
    "ip": [np.ones((3, 8)), np.ones(3)],
}
MODEL = model(ONES)
TOKENS = tuple(TEXT.decode().replace("{", " { ").replace("}", " } ").split())
WORDS = (
    *TOKENS,
    "-1",
    "0",
    "4294967295",
    "1e39",
    "nan",
    "-inf",
    "99999999999999999999",
    '"',
    "[",
    "]",
    ":",
    "<",
    "#",
    "'",
)


def read(text: bytes, weights: bytes | None) -> Import | None:
    """Import; only an ImportFailure may come of it, which says where, and is no afterthought of another error."""
    message = ""
    try:
        return read_network(text, weights)
    except ImportFailure as error:
        message, cause = str(error), error.__cause__
    assert message.startswith(("definition: ", "model: "))
    assert cause is None, message
    return None


def is_small(network: Import) -> bool:
    values = network.graph.order()
    return all(value.type.is_static and tuning_value(value.type.elements) < 1 << 16 for value in values)


def test_what_is_damaged_is_whole():
    assert read_network(TEXT, MODEL).warnings == ()


@FEW
@given(st.data())
def test_bytes_changed_in_a_model(data: st.DataObject):
    damaged = bytearray(MODEL)
    for _ in range(data.draw(st.integers(1, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read(TEXT, bytes(damaged))


@FEW
@given(st.integers(0, len(MODEL)), st.binary(max_size=40), st.integers(0, 60))
def test_a_model_cut_and_mended(at: int, inserted: bytes, left_out: int):
    read(TEXT, MODEL[:at] + inserted + MODEL[at + left_out :])
    read(TEXT, MODEL[:at])


@FEW
@given(st.binary(max_size=200))
def test_any_bytes(data: bytes):
    read(TEXT, data)
    read(data, MODEL)
    with contextlib.suppress(ImportFailure):
        read_mean(data)


@FEW
@given(st.data())
def test_bytes_changed_in_a_definition(data: st.DataObject):
    damaged = bytearray(TEXT)
    for _ in range(data.draw(st.integers(1, 5))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    read(bytes(damaged), MODEL)


@FEW
@given(st.data())
def test_words_changed_in_a_definition(data: st.DataObject):
    words = list(TOKENS)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(words) - 1))
        match data.draw(st.sampled_from(("replace", "insert", "remove"))):
            case "replace":
                words[at] = data.draw(st.sampled_from(WORDS))
            case "insert":
                words.insert(at, data.draw(st.sampled_from(WORDS)))
            case _:
                del words[at]
    text = " ".join(words).encode()
    read(text, MODEL)
    read(text, None)


FIRST = b"""name: "test" input: "data" input_dim: 1 input_dim: 2 input_dim: 4 input_dim: 4
layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "padded" }
layers { layer { name: "c" type: "conv" num_output: 2 kernelsize: 3 group: 1 } bottom: "padded" top: "c" }
layers { layer { name: "r" type: "relu" } bottom: "c" top: "c" }
layers { layer { name: "p" type: "pool" pool: MAX kernelsize: 2 stride: 2 } bottom: "c" top: "p" }
layers { layer { name: "n" type: "lrn" local_size: 3 alpha: 0.5 beta: 0.75 } bottom: "p" top: "n" }
layers { layer { name: "ip" type: "innerproduct" num_output: 3 biasterm: true } bottom: "n" top: "ip" }
layers { layer { name: "prob" type: "softmax" } bottom: "ip" top: "prob" }
"""


@FEW
@given(st.data())
def test_words_changed_in_a_definition_of_the_first_generation(data: st.DataObject):
    assert read_network(FIRST).graph.outputs
    words = FIRST.decode().replace("{", " { ").replace("}", " } ").split()
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(words) - 1))
        words[at] = data.draw(st.sampled_from((*words, *WORDS)))
    read(" ".join(words).encode(), None)


VALUES = {
    "bool": st.sampled_from(("true", "false")),
    "whole": st.sampled_from(("-1", "0", "1", "2", "3", "7", "2147483647", "-2147483648", "4294967295")),
    "real": st.sampled_from(("0", "1", "-1", "0.5", "1e30", "-inf", "nan")),
}


@st.composite
def parameters(draw: st.DrawFn, type: str) -> str:
    """Any of the parameters of a layer type, with usual and unusual values."""
    handler, parts = handlers()[type], []
    for name, hint in handler.signature.kinds.items():
        for _ in range(draw(st.integers(0, 2 if "tuple" in str(hint) else 1))):
            spelled = str(hint)
            if "Literal" in spelled:
                value = draw(st.sampled_from([label for label in spelled.split("'") if label.isupper()]))
            elif "BlobShape" in spelled:
                value = "{ " + " ".join(f"dim: {draw(VALUES['whole'])}" for _ in range(draw(st.integers(0, 4)))) + " }"
                parts.append(f"{name} {value}")
                continue
            else:
                kind = "bool" if "bool" in spelled else "real" if "float" in spelled else "whole"
                value = draw(VALUES[kind])
            parts.append(f"{name}: {value}")
    return f"{handler.parameters} {{ {' '.join(parts)} }}" if handler.parameters else ""


@st.composite
def networks(draw: st.DrawFn) -> bytes:
    """A few layers of any type with any parameters."""
    extents = st.sampled_from((1, 2, 3, 5, 8))
    shapes = {name: draw(st.lists(extents, min_size=1, max_size=4)) for name in ("data", "more")}
    known, layers = ["data", "more"], []
    for number in range(draw(st.integers(1, 4))):
        type = draw(st.sampled_from(sorted(handlers())))
        bottoms = draw(st.lists(st.sampled_from(known), min_size=0, max_size=3))
        tops = [f"t{number}{place}" for place in range(draw(st.integers(1, 2)))]
        text = draw(parameters(type))
        layers.append(layer(type, text, bottoms=" ".join(bottoms), tops=" ".join(tops), name=f"l{number}"))
        known += tops
    return definition("".join(layers), **shapes)


@settings(max_examples=300 * MORE)
@given(networks())
def test_any_layers_with_any_parameters(text: bytes):
    network = read(text, None)
    if network is not None and is_small(network):
        inputs = {name: np.ones(value.type.tuning_shape, np.float32) for name, value in network.graph.inputs}
        found = evaluate_graph(network.graph, inputs)
        assert {name: array.shape for name, array in found.items()} == {
            name: value.type.shape for name, value in network.graph.outputs
        }


@FEW
@given(st.lists(st.integers(-3, 1 << 40), max_size=5), st.integers(0, 6), st.booleans())
def test_any_shape_of_a_blob(shape: list[int], elements: int, legacy: bool):
    blob = model_messages()["BlobProto"]()
    put(blob, np.ones(elements))
    del blob.shape.dim[:]
    blob.shape.dim.extend(shape)
    if legacy and shape:
        blob.num = min(shape[0], 2147483647)
    net = model_messages()["NetParameter"]()
    net.layer.add(name="ip").blobs.add().CopyFrom(blob)
    read(TEXT, net.SerializeToString())

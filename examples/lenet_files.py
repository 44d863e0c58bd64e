"""The LeNet of the demo as files of other frameworks: Caffe (definition and model), a frozen TensorFlow graph, and UFF.

`python lenet_files.py FOLDER` writes them. All have the weights of `demo/lenet.onnx`, the input `image` and the output
`probabilities`. The other programs of this folder write them where they need them.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from tensorwright.compat import uff
from tensorwright.importers.caffe.blobs import model_messages
from tensorwright.importers.tensorflow.messages import graph_class

DEMO = Path(__file__).parents[1] / "demo"
MODEL = DEMO / "lenet.onnx"
INPUT, OUTPUT = "image", "probabilities"

Floats = npt.NDArray[np.float32]

DEPLOY = """name: "LeNet"
layer { name: "image" type: "Input" top: "image" input_param { shape { dim: 1 dim: 1 dim: 28 dim: 28 } } }
layer { name: "conv1" type: "Convolution" bottom: "image" top: "conv1"
        convolution_param { num_output: 20 kernel_size: 5 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"
        pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
        convolution_param { num_output: 50 kernel_size: 5 } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2"
        pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc1" type: "InnerProduct" bottom: "pool2" top: "fc1" inner_product_param { num_output: 500 } }
layer { name: "relu" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" inner_product_param { num_output: 10 } }
layer { name: "softmax" type: "Softmax" bottom: "fc2" top: "probabilities" }
"""


def trained_weights() -> dict[str, Floats]:
    """Kernels and biases by name: ``conv1.weight``, ``conv1.bias``, ``conv2.weight``, ..., ``fc2.bias``."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(MODEL).graph.initializer}


def write_caffe(folder: Path) -> tuple[Path, Path]:
    """Write `deploy.prototxt` and `lenet.caffemodel`; gives their paths."""
    weights = trained_weights()
    # Members of messages that are made at run time are not known to the type checker.
    net: Any = model_messages()["NetParameter"]()
    for name in ("conv1", "conv2", "fc1", "fc2"):
        layer = net.layer.add(name=name)
        for array in (weights[f"{name}.weight"], weights[f"{name}.bias"]):
            blob = layer.blobs.add(data=array.ravel())
            blob.shape.dim.extend(array.shape)
    deploy, model = folder / "deploy.prototxt", folder / "lenet.caffemodel"
    deploy.write_text(DEPLOY)
    model.write_bytes(net.SerializeToString(deterministic=True))
    return deploy, model


def write_frozen_graph(folder: Path) -> Path:
    """Write `lenet.pb`, which computes with channels last as TensorFlow does; gives its path."""
    weights = trained_weights()
    graph = GraphWriter()
    x = graph.placeholder(INPUT, (-1, 28, 28, 1))
    window = {"padding": b"VALID", "data_format": b"NHWC"}
    for number in (1, 2):
        kernel = weights[f"conv{number}.weight"].transpose(2, 3, 1, 0)
        x = graph.node("Conv2D", f"conv{number}", x, graph.constant(kernel), strides=[1, 1, 1, 1], **window)
        x = graph.node("BiasAdd", f"bias{number}", x, graph.constant(weights[f"conv{number}.bias"]))
        x = graph.node("MaxPool", f"pool{number}", x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], **window)
    x = graph.node("Reshape", "flat", x, graph.constant(np.array([-1, 800], np.int32)))
    # The rows of the kernel in the order of height, width, channels.
    kernel = weights["fc1.weight"].reshape(500, 50, 4, 4).transpose(2, 3, 1, 0).reshape(800, 500)
    x = graph.node("MatMul", "fc1", x, graph.constant(kernel))
    x = graph.node("Relu", "relu", graph.node("BiasAdd", "bias3", x, graph.constant(weights["fc1.bias"])))
    x = graph.node("MatMul", "fc2", x, graph.constant(weights["fc2.weight"].T))
    x = graph.node("BiasAdd", "logits", x, graph.constant(weights["fc2.bias"]))
    graph.node("Softmax", OUTPUT, x)
    path = folder / "lenet.pb"
    path.write_bytes(graph.message.SerializeToString(deterministic=True))
    return path


def write_uff(folder: Path) -> Path:
    """Write `lenet.uff`, converted from the frozen graph as `convert-to-uff` does; gives its path."""
    path = folder / "lenet.uff"
    uff.from_tensorflow_frozen_model(write_frozen_graph(folder), [OUTPUT], output_filename=path, quiet=True)
    return path


class GraphWriter:
    """A GraphDef; calls that add a node give its name."""

    def __init__(self) -> None:
        self.message: Any = cast("Any", graph_class()())
        self.message.versions.producer = 1000

    def placeholder(self, name: str, shape: tuple[int, ...]) -> str:
        node = self.message.node.add(op="Placeholder", name=name)
        node.attr["dtype"].type = 1
        for extent in shape:
            node.attr["shape"].shape.dim.add(size=extent)
        return name

    def constant(self, array: npt.NDArray[np.generic]) -> str:
        name = f"constant_{len(self.message.node)}"
        node = self.message.node.add(op="Const", name=name)
        number = {"float32": 1, "int32": 3}[array.dtype.name]
        node.attr["dtype"].type = number
        tensor = node.attr["value"].tensor
        tensor.dtype, tensor.tensor_content = number, np.ascontiguousarray(array).tobytes()
        for extent in array.shape:
            tensor.tensor_shape.dim.add(size=extent)
        return name

    def node(self, operator: str, name: str, *inputs: str, **attributes: bytes | list[int]) -> str:
        node = self.message.node.add(op=operator, name=name, input=inputs)
        node.attr["T"].type = 1
        for key, value in attributes.items():
            if isinstance(value, bytes):
                node.attr[key].s = value
            else:
                node.attr[key].list.i.extend(value)
        return name


def digits() -> tuple[Floats, list[int]]:
    """The images of the demo, ``[20, 1, 28, 28]`` from 0 to 1, and the digits that they show."""
    files = sorted((DEMO / "digits").glob("*.pgm"))
    pixels = [np.frombuffer(file.read_bytes()[-784:], np.uint8).reshape(1, 28, 28) for file in files]
    return np.stack(pixels).astype(np.float32) / np.float32(255), [int(file.stem[-1]) for file in files]


def report(probabilities: npt.NDArray[np.generic]) -> None:
    """Print what was recognised, and write the probabilities to the file that the command line names, if it does."""
    _, labels = digits()
    found = probabilities.reshape(len(labels), 10).astype(np.float32)
    right = sum(label == digit for label, digit in zip(labels, found.argmax(1), strict=True))
    print("digits", *found.argmax(1))
    print(f"{right} of {len(labels)} right")
    if len(sys.argv) > 1:
        np.save(sys.argv[1], found)


def sizes(files: Mapping[str, Path]) -> None:
    for what, path in files.items():
        print(f"{what:20} {path.name:18} {path.stat().st_size:9} bytes")


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else temporary)
        folder.mkdir(parents=True, exist_ok=True)
        deploy, model = write_caffe(folder)
        written = write_uff(folder)
        sizes({"Caffe definition": deploy, "Caffe model": model, "frozen graph": folder / "lenet.pb", "UFF": written})


if __name__ == "__main__":
    main()

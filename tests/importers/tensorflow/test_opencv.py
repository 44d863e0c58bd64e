"""Whole small networks give what OpenCV's reader of TensorFlow graphs gives.

That reader ignores the attribute `dilations`, has no Maximum, and mixes up two convolutions of one activation: these
are left to test_operators.py, where TensorFlow judges.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tensorflow_graphs import GraphMaker
from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.importers.tensorflow import import_tensorflow
from tensorwright.tensor.dtype import FLOAT32

cv2 = pytest.importorskip("cv2")
Generator = np.random.Generator

ONES = [1, 1, 1, 1]


class Net(GraphMaker):
    """A graph whose nodes all say their type, as OpenCV wants it, with random weights."""

    def __init__(self, rng: Generator) -> None:
        super().__init__()
        self.rng = rng
        self.shape: tuple[int, ...] = ()

    def weights(self, *shape: int, low: float = -1.0, high: float = 1.0) -> str:
        return self.constant(self.rng.uniform(low, high, shape).astype(np.float32))

    def image(self, *shape: int) -> str:
        """The input. OpenCV reads extents as if channels were first, so they are not in the file."""
        self.shape = shape
        return self.placeholder(None)

    def conv(self, x: str, *kernel: int, operator: str = "Conv2D", **attributes: object) -> str:
        given = {"padding": "SAME", "strides": ONES, "T": FLOAT32, "data_format": "NHWC"} | attributes
        return self.add(operator, x, self.weights(*kernel), **given)

    def op(self, operator: str, *inputs: str, **attributes: object) -> str:
        return self.add(operator, *inputs, T=FLOAT32, **attributes)


def convolution_bias_relu_pool(net: Net) -> str:
    y = net.conv(net.image(1, 9, 11, 3), 3, 3, 3, 8, strides=[1, 2, 2, 1])
    y = net.op("Relu", net.op("BiasAdd", y, net.weights(8)))
    return net.op("MaxPool", y, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME")


def valid_convolutions(net: Net) -> str:
    y = net.op("Relu6", net.conv(net.image(1, 9, 11, 3), 3, 2, 3, 4, padding="VALID"))
    return net.conv(y, 2, 3, 4, 2, padding="VALID", strides=[1, 2, 1, 1])


def depthwise_and_pointwise(net: Net) -> str:
    y = net.conv(net.image(1, 8, 8, 4), 3, 3, 4, 1, operator="DepthwiseConv2dNative", strides=[1, 2, 2, 1])
    return net.conv(net.op("Relu6", y), 1, 1, 4, 6)


def depthwise_multiplier(net: Net) -> str:
    return net.conv(net.image(1, 8, 8, 3), 3, 3, 3, 2, operator="DepthwiseConv2dNative")


def dilated_as_blocks(net: Net) -> str:
    x = net.image(1, 12, 12, 3)
    blocks = net.add(
        "SpaceToBatchND", x, net.constant([2, 2]), net.constant([[2, 2], [2, 2]]), T=FLOAT32, name="SpaceToBatchND"
    )
    y = net.conv(blocks, 3, 3, 3, 4, padding="VALID", name="Conv2D")
    return net.add(
        "BatchToSpaceND", y, net.constant([2, 2]), net.constant([[0, 0], [0, 0]]), T=FLOAT32, name="BatchToSpaceND"
    )


def batch_norm(net: Net) -> str:
    y = net.conv(net.image(1, 6, 7, 3), 3, 3, 3, 5)
    parameters = [net.weights(5), net.weights(5), net.weights(5), net.weights(5, low=0.2, high=2)]
    return net.op("FusedBatchNorm", y, *parameters, is_training=False, epsilon=0.001)


def concatenated(net: Net) -> str:
    x = net.image(1, 8, 8, 3)
    left = net.op("AvgPool", x, ksize=[1, 3, 3, 1], strides=[1, 2, 2, 1], padding="SAME", data_format="NHWC")
    right = net.op("MaxPool", x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="VALID", data_format="NHWC")
    return net.op("ConcatV2", left, right, net.constant(3), N=2)


def classifier(net: Net) -> str:
    y = net.op("Relu", net.conv(net.image(1, 6, 6, 2), 3, 3, 2, 4, strides=[1, 2, 2, 1]))
    flat = net.op("Reshape", y, net.constant([-1, 36]))
    return net.op("Softmax", net.op("BiasAdd", net.op("MatMul", flat, net.weights(36, 10)), net.weights(10)))


def local_response(net: Net) -> str:
    return net.op("LRN", net.image(1, 4, 5, 9), depth_radius=2, bias=1.5, alpha=0.4, beta=0.75)


def padded(net: Net) -> str:
    y = net.op("Pad", net.image(1, 7, 7, 3), net.constant([[0, 0], [3, 2], [1, 2], [0, 0]]))
    return net.conv(y, 3, 3, 3, 4, padding="VALID", strides=[1, 2, 2, 1])


def nearest(net: Net) -> str:
    return net.op("ResizeNearestNeighbor", net.image(1, 4, 5, 3), net.constant([8, 10]))


def bilinear(net: Net) -> str:
    return net.op("ResizeBilinear", net.image(1, 4, 5, 3), net.constant([8, 10]))


def bilinear_corners(net: Net) -> str:
    return net.op("ResizeBilinear", net.image(1, 4, 5, 3), net.constant([7, 9]), align_corners=True)


def global_mean(net: Net) -> str:
    y = net.conv(net.image(1, 6, 7, 3), 3, 3, 3, 5)
    return net.op("Mean", y, net.constant([1, 2]), keep_dims=True)


def deconvolution(net: Net) -> str:
    x = net.image(1, 4, 5, 6)
    sizes, kernel = net.constant([1, 8, 10, 3]), net.weights(3, 3, 3, 6)
    return net.op("Conv2DBackpropInput", sizes, kernel, x, strides=[1, 2, 2, 1], padding="SAME")


def arithmetic(net: Net) -> str:
    x = net.image(1, 5, 6, 4)
    left, right = net.conv(x, 1, 1, 4, 3), net.conv(x, 1, 1, 4, 3)
    return net.op("AddV2", net.op("Mul", left, right), right)


def activations(net: Net) -> str:
    y = net.op("LeakyRelu", net.conv(net.image(1, 5, 6, 4), 1, 1, 4, 3), alpha=0.1)
    y = net.op("Elu", net.conv(y, 1, 1, 3, 3))
    return net.op("Sigmoid", net.op("Tanh", net.conv(y, 1, 1, 3, 3)))


def residual(net: Net) -> str:
    x = net.image(1, 8, 8, 4)
    y = net.op("Relu", net.conv(x, 3, 3, 4, 4))
    return net.op("Relu", net.op("Add", net.conv(y, 3, 3, 4, 4), x))


NETWORKS: tuple[Callable[[Net], str], ...] = (
    convolution_bias_relu_pool, valid_convolutions, depthwise_and_pointwise, depthwise_multiplier, dilated_as_blocks,
    batch_norm, concatenated, classifier, local_response, padded, nearest, bilinear, bilinear_corners, global_mean,
    deconvolution, arithmetic, activations, residual,
)  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_a_network_gives_what_opencv_gives(network: Callable[[Net], str], rng: Generator) -> None:
    net = Net(rng)
    output = network(net)
    graph = import_tensorflow(net.bytes(), outputs=[output], shapes={"x": net.shape})
    image = rng.uniform(-1, 1, net.shape).astype(np.float32)
    found = evaluate_graph(graph, {"x": image})[output]

    reader = cv2.dnn.readNetFromTensorflow(np.frombuffer(net.bytes(), np.uint8))
    reader.setInput(image.transpose(0, 3, 1, 2))
    expected = reader.forward()
    if found.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * max(1.0, float(np.abs(expected).max())))

"""LeNet layer by layer, in the style of TensorRT's older interface: shapes and axes do not mention the batch."""

from __future__ import annotations

import numpy as np

import tensorwright as tw
from lenet_files import Floats, digits, report, trained_weights

MAX_BATCH = 32


def define(network: tw.NetworkDefinition, weights: dict[str, Floats]) -> None:
    """Convolution, pooling, convolution, pooling, two fully connected layers, softmax."""
    tensor = network.add_input("image", tw.float32, (1, 28, 28))
    for number, maps in ((1, 20), (2, 50)):
        kernel, bias = weights[f"conv{number}.weight"], weights[f"conv{number}.bias"]
        convolution = network.add_convolution(tensor, maps, (5, 5), kernel, bias, name=f"conv{number}")
        convolution.stride = (1, 1)
        pooling = network.add_pooling(convolution.get_output(0), tw.PoolingType.MAX, (2, 2), name=f"pool{number}")
        pooling.stride = (2, 2)
        tensor = pooling.get_output(0)
    hidden = network.add_fully_connected(tensor, 500, weights["fc1.weight"], weights["fc1.bias"], name="fc1")
    relu = network.add_activation(hidden.get_output(0), tw.ActivationType.RELU, name="relu")
    last = network.add_fully_connected(relu.get_output(0), 10, weights["fc2.weight"], weights["fc2.bias"], name="fc2")
    softmax = network.add_softmax(last.get_output(0), name="softmax")
    softmax.get_output(0).name = "probabilities"
    network.mark_output(softmax.get_output(0))


def main() -> None:
    builder = tw.Builder(tw.Logger(tw.Severity.INFO))
    builder.max_batch_size = MAX_BATCH
    network = builder.create_network()
    define(network, trained_weights())
    config = builder.create_builder_config()
    config.set_memory_pool_limit(tw.MemoryPoolType.WORKSPACE, 16 << 20)
    config.builder_optimization_level = 1
    engine = builder.build_engine(network, config)

    images, labels = digits()
    probabilities = np.empty((len(labels), 10, 1, 1), np.float32)
    addresses = {"image": images.ctypes.data, "probabilities": probabilities.ctypes.data}
    bindings = [addresses[engine.get_binding_name(number)] for number in range(engine.num_bindings)]
    engine.create_execution_context().execute(len(labels), bindings)
    report(probabilities)


if __name__ == "__main__":
    main()

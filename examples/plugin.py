"""A layer of one's own: a Caffe network whose type `Mish` no parser knows, made of layers that are known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import tensorwright as tw

DEPLOY = b"""
layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 3 dim: 4 dim: 4 } } }
layer { name: "mish" type: "Mish" bottom: "x" top: "y" }
"""


class Mish(tw.Plugin):
    """``x tanh(log(1 + exp(x)))``"""

    def add_layers(self, network: tw.NetworkDefinition, inputs: Sequence[tw.Tensor], node: tw.CustomNode) -> tw.Layer:
        (x,) = inputs
        softplus = network.add_activation(x, tw.ActivationType.SOFTPLUS)
        tanh = network.add_activation(softplus.get_output(0), tw.ActivationType.TANH)
        return network.add_elementwise(x, tanh.get_output(0), tw.ElementWiseOperation.PROD)


def main() -> None:
    builder = tw.Builder(tw.Logger(tw.Severity.ERROR))
    builder.max_batch_size = 2
    network = builder.create_network()
    parser = tw.CaffeParser()
    parser.register_plugin("Mish", Mish())
    blobs = parser.parse_buffers(DEPLOY, None, network)
    if blobs is None:
        raise SystemExit(parser.get_error(0).desc())
    network.mark_output(blobs["y"])
    # The same plugin as a layer of the network, behind what the parser made.
    again = network.add_plugin([blobs["y"]], Mish())
    again.get_output(0).name = "z"
    network.mark_output(again.get_output(0))
    engine = builder.build_engine(network)

    x = np.random.default_rng(0).uniform(-3, 3, (2, 3, 4, 4)).astype(np.float32)
    found = engine(x)
    for name in ("y", "z"):
        x = x * np.tanh(np.log1p(np.exp(x)))
        print(f"{name}: largest error below 1e-5: {np.allclose(found[name], x, rtol=0, atol=1e-5)}")


if __name__ == "__main__":
    main()

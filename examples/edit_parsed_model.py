"""A parsed model, changed before it is built: the largest probability and its digit become outputs."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import tensorwright as tw

DEMO = Path(__file__).parents[1] / "demo"


def main() -> None:
    builder = tw.Builder()
    network = builder.create_network(1 << int(tw.NetworkDefinitionCreationFlag.EXPLICIT_BATCH))
    parser = tw.OnnxParser(network)
    if not parser.parse_from_file(DEMO / "lenet.onnx"):
        sys.exit("\n".join(str(parser.get_error(number)) for number in range(parser.num_errors)))

    probabilities = network.get_output(0)
    network.unmark_output(probabilities)
    best = network.add_topk(probabilities, tw.TopKOperation.MAX, 1, 1 << 1, name="best")
    for index, name in enumerate(("probability", "digit")):
        best.get_output(index).name = name
        network.mark_output(best.get_output(index))

    config = builder.create_builder_config()
    config.builder_optimization_level = 1
    profile = builder.create_optimization_profile()
    profile.set_shape("image", (1, 1, 28, 28), (1, 1, 28, 28), (4, 1, 28, 28))
    config.add_optimization_profile(profile)
    engine = builder.build_engine(network, config)

    pixels = np.frombuffer((DEMO / "digits" / "digit-07-label-2.pgm").read_bytes()[-784:], np.uint8)
    outputs = engine(pixels.reshape(1, 1, 28, 28).astype(np.float32) / np.float32(255))
    print(f"digit {outputs['digit'][0, 0]} with probability {outputs['probability'][0, 0]:.3f}")


if __name__ == "__main__":
    main()

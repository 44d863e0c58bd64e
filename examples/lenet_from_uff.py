"""LeNet from UFF, the format between TensorFlow and the engines of that time."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tensorwright as tw
from lenet_files import INPUT, OUTPUT, digits, report, write_uff


def main() -> None:
    images, _ = digits()
    builder = tw.Builder()
    builder.max_batch_size = len(images)
    network = builder.create_network()
    parser = tw.UffParser()
    # The model computes with channels last; images come in as CHW all the same.
    parser.register_input(INPUT, (1, 28, 28), tw.UffInputOrder.NCHW)
    parser.register_output(OUTPUT)
    with tempfile.TemporaryDirectory() as folder:
        parsed = parser.parse(write_uff(Path(folder)), network, tw.float32)
    if not parsed:
        raise SystemExit(parser.get_error(0).desc())
    config = builder.create_builder_config()
    config.builder_optimization_level = 1  # Tune little: LeNet is small.
    engine = builder.build_engine(network, config)
    report(engine(images)[OUTPUT])


if __name__ == "__main__":
    main()

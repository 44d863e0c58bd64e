"""LeNet from Caffe: `deploy.prototxt` says the layers, `lenet.caffemodel` has the weights."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tensorwright as tw
from lenet_files import OUTPUT, digits, report, write_caffe


def main() -> None:
    images, _ = digits()
    builder = tw.Builder()
    builder.max_batch_size = len(images)
    network = builder.create_network()
    parser = tw.CaffeParser()
    with tempfile.TemporaryDirectory() as folder:
        deploy, model = write_caffe(Path(folder))
        blobs = parser.parse(deploy, model, network, tw.float32)
    if blobs is None:
        raise SystemExit(parser.get_error(0).desc())
    # The ReLU works in place: its blob, `fc1`, stands for what it wrote.
    network.mark_output(blobs[OUTPUT])
    config = builder.create_builder_config()
    config.builder_optimization_level = 1  # Tune little: LeNet is small.
    engine = builder.build_engine(network, config)
    report(engine(images)[OUTPUT])


if __name__ == "__main__":
    main()

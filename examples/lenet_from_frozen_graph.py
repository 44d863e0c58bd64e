"""LeNet from a frozen TensorFlow graph, without TensorFlow: images have their channels last."""

from __future__ import annotations

import tempfile
from pathlib import Path

import tensorwright as tw
from lenet_files import INPUT, OUTPUT, digits, report, write_frozen_graph


def main() -> None:
    images, _ = digits()
    with tempfile.TemporaryDirectory() as folder:
        path = write_frozen_graph(Path(folder))
        shapes = {INPUT: (("batch", 1, 20, 20), 28, 28, 1)}
        engine = tw.build(path, outputs=[OUTPUT], shapes=shapes, level=1)
    report(engine(images.transpose(0, 2, 3, 1))[OUTPUT])


if __name__ == "__main__":
    main()

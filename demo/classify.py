"""Load a plan and read handwritten digits: `python classify.py lenet.plan digit.pgm ...`.

The last character of a file's stem is the digit that it shows.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

import tensorwright as tw


def main(plan: Path, images: list[Path]) -> int:
    engine = tw.load(plan)
    compiler = sorted({"llvmlite", "onnx"} & set(sys.modules))
    print(f"loaded {plan.name}: {engine.num_layers} steps; compiler loaded: {', '.join(compiler) or 'no'}\n")
    print("test case             label  prediction  probability")
    right = 0
    for image in images:
        probabilities = engine(read_image(image))["probabilities"][0]
        label, prediction = int(image.stem[-1]), int(probabilities.argmax())
        right += label == prediction
        mark = "" if label == prediction else "   wrong"
        print(f"{image.stem:20} {label:6} {prediction:11} {probabilities[prediction]:12.4f}{mark}")
    print(f"\n{right} of {len(images)} right")
    return 0 if right == len(images) else 1


def read_image(path: Path) -> npt.NDArray[np.float32]:
    """A binary PGM of 28×28 pixels as float32 [1, 1, 28, 28], 0 for paper to 1 for ink."""
    data = path.read_bytes()
    if not data.startswith(b"P5\n28 28\n255\n"):
        sys.exit(f"{path}: expected a binary PGM of 28 by 28 pixels with 255 grey levels")
    pixels = np.frombuffer(data[-28 * 28 :], np.uint8).reshape(1, 1, 28, 28)
    return pixels.astype(np.float32) / np.float32(255)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]]))

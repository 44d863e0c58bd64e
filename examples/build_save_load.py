"""Model to engine in one call; the plan saved, loaded and run at batch sizes that share it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import tensorwright as tw

MODEL = Path(__file__).parents[1] / "demo" / "lenet.onnx"


def main() -> None:
    engine = tw.build(MODEL, shapes={"batch": (1, 4, 16)}, threads=2, level=1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lenet.plan"
        engine.save(path)
        loaded = tw.load(path)
    images = np.random.default_rng(0).random((16, 1, 28, 28), np.float32)
    for batch in (1, 4, 16):
        outputs = loaded({"image": images[:batch]})
        assert np.array_equal(outputs["probabilities"], engine(images[:batch])["probabilities"])
        print(batch, outputs["probabilities"].shape)


if __name__ == "__main__":
    main()

"""Work on raw addresses, in order, on a stream, while this thread goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tensorwright as tw

MODEL = Path(__file__).parents[1] / "demo" / "lenet.onnx"
BATCH, REPEATS = 16, 20


def main() -> None:
    engine = tw.build(MODEL, threads=1, level=1)
    context = engine.create_execution_context()
    images = np.random.default_rng(0).random((REPEATS, BATCH, 1, 28, 28), np.float32)
    results = np.full((REPEATS, BATCH, 10), np.nan, np.float32)
    stream, start, end, consumed = tw.Stream(), tw.Event(), tw.Event(), tw.Event()

    start.record(stream)
    for image, result in zip(images, results, strict=True):
        addresses = {"image": image.ctypes.data, "probabilities": result.ctypes.data}
        bindings = [addresses[name] for name in engine]
        context.enqueue(BATCH, bindings, stream.handle, consumed)
    end.record(stream)
    print("enqueued; the stream is done already:", stream.query())

    stream.synchronize()
    assert consumed.query()
    assert np.allclose(results.sum(-1), 1, atol=1e-5)
    print(f"{REPEATS * BATCH} images, {start.elapsed_time(end) / REPEATS:.3f} ms a batch")


if __name__ == "__main__":
    main()

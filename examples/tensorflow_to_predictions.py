"""The whole way in the Python interface of TensorRT 3: frozen graph, UFF, engine, context, predictions.

Written with `import tensorrt`, `import uff` and `import pycuda.driver` in place of the first imports, the same program
runs with `python -m tensorwright.compat`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from lenet_files import Floats, digits, report, write_frozen_graph
from tensorwright.compat import tensorrt as trt
from tensorwright.compat import uff
from tensorwright.compat.pycuda import driver as cuda

G_LOGGER = trt.infer.ConsoleLogger(trt.infer.LogSeverity.ERROR)
INPUT, OUTPUT = "image", "probabilities"
MAX_BATCHSIZE = 1
MAX_WORKSPACE = 1 << 20


def infer(context: trt.infer.ExecutionContext, input_img: Floats, batch_size: int) -> Floats:
    engine = context.get_engine()
    assert engine.get_nb_bindings() == 2
    dims = engine.get_binding_dimensions(1).to_DimsCHW()
    elt_count = dims.C() * dims.H() * dims.W() * batch_size
    input_img = input_img.astype(np.float32)
    output = cuda.pagelocked_empty(elt_count, dtype=np.float32)
    d_input = cuda.mem_alloc(batch_size * input_img.size * input_img.dtype.itemsize)
    d_output = cuda.mem_alloc(batch_size * output.size * output.dtype.itemsize)
    bindings = [int(d_input), int(d_output)]
    stream = cuda.Stream()
    cuda.memcpy_htod_async(d_input, input_img, stream)
    context.enqueue(batch_size, bindings, stream.handle, None)
    cuda.memcpy_dtoh_async(output, d_output, stream)
    return np.asarray(output, np.float32)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        uff_model = uff.from_tensorflow_frozen_model(write_frozen_graph(Path(folder)), [OUTPUT], quiet=True)
    assert isinstance(uff_model, bytes)
    parser = trt.parsers.uffparser.create_uff_parser()
    parser.register_input(INPUT, (1, 28, 28), 0)
    parser.register_output(OUTPUT)
    engine = trt.utils.uff_to_trt_engine(G_LOGGER, uff_model, parser, MAX_BATCHSIZE, MAX_WORKSPACE)
    assert engine
    context = engine.create_execution_context()
    images, labels = digits()
    found = []
    print("| TEST CASE | PREDICTION |")
    for img, label in zip(images, labels, strict=True):
        out = infer(context, img, 1)
        print("|-----------|------------|")
        print(f"|     {label}     |      {np.argmax(out)}     |")
        found.append(out)
    report(np.stack(found))
    context.destroy()
    engine.destroy()
    parser.destroy()


if __name__ == "__main__":
    main()

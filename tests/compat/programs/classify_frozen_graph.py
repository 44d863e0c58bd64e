"""A program of the time of TensorRT 3: a frozen graph through UFF to predictions. It never synchronises its stream.

Arguments: the frozen graph, and PGM images of 28×28.
"""

import os
import sys

import numpy as np
import pycuda.autoinit
import pycuda.driver as cuda
import tensorrt as trt
from tensorrt.parsers import uffparser

try:
    import uff
except ImportError:
    raise ImportError("""Please install the UFF Toolkit""")

MAX_BATCHSIZE = 1
MAX_WORKSPACE = 1 << 20


def infer(context, input_img, batch_size):
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
    return output


def main():
    uff_model = uff.from_tensorflow_frozen_model(sys.argv[1], ["fc2/Relu"])
    parser = uffparser.create_uff_parser()
    parser.register_input("Placeholder", (1, 28, 28), 0)
    parser.register_output("fc2/Relu")
    G_LOGGER = trt.infer.ConsoleLogger(trt.infer.LogSeverity.INFO)
    engine = trt.utils.uff_to_trt_engine(G_LOGGER, uff_model, parser, MAX_BATCHSIZE, MAX_WORKSPACE)
    assert engine
    context = engine.create_execution_context()
    print("\n| TEST CASE | PREDICTION |")
    for file in sys.argv[2:]:
        label = os.path.basename(file)[-5]
        with open(file, "rb") as image:
            img = np.frombuffer(image.read()[-784:], np.uint8).reshape(1, 28, 28) / 255.0
        out = infer(context, img, 1)
        print("|-----------|------------|")
        print("|     " + str(label) + "     |      " + str(np.argmax(out)) + "     |")
    context.destroy()
    engine.destroy()
    parser.destroy()


if __name__ == "__main__":
    main()

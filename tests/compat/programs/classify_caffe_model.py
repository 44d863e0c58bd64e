"""A program of the time of TensorRT 4: a Caffe model, an engine in a file, synchronous execution with a profiler.

Arguments: definition, model, where to write the engine.
"""

import sys

import numpy as np
import pycuda.autoinit
import pycuda.driver as cuda
import tensorrt as trt
from tensorrt.infer import LogSeverity
from tensorrt.parsers import caffeparser

G_LOGGER = trt.infer.ConsoleLogger(LogSeverity.ERROR)


def build(deploy, model):
    builder = trt.infer.create_infer_builder(G_LOGGER)
    network = builder.create_network()
    parser = caffeparser.create_caffe_parser()
    blob_name_to_tensor = parser.parse(deploy, model, network, trt.infer.DataType_kFLOAT)
    network.mark_output(blob_name_to_tensor.find("prob"))
    builder.set_max_batch_size(2)
    builder.set_max_workspace_size(1 << 20)
    engine = builder.build_cuda_engine(network)
    network.destroy()
    parser.destroy()
    builder.destroy()
    return engine


class LayerTimes(trt.infer.Profiler):
    def report_layer_time(self, layerName, ms):
        assert ms >= 0
        trt.infer.Profiler.report_layer_time(self, layerName, ms)


def main():
    deploy, model, plan = sys.argv[1:]
    engine = build(deploy, model)
    modelstream = engine.serialize()
    trt.utils.write_engine_to_file(plan, modelstream)
    modelstream.destroy()
    engine.destroy()
    with open(plan, "rb") as file:
        data = file.read()
    runtime = trt.infer.create_infer_runtime(G_LOGGER)
    engine = runtime.deserialize_cuda_engine(data, len(data), None)
    context = engine.create_execution_context()
    profiler = LayerTimes(1)
    context.set_profiler(profiler)
    images = np.random.RandomState(0).rand(2, 3, 6, 6).astype(np.float32)
    output = np.empty((2, 4), np.float32)
    d_input, d_output = cuda.mem_alloc(images.nbytes), cuda.mem_alloc(output.nbytes)
    bindings = [0, 0]
    bindings[engine.get_binding_index("data")] = int(d_input)
    bindings[engine.get_binding_index("prob")] = int(d_output)
    cuda.memcpy_htod(d_input, images)
    context.execute(2, bindings)
    cuda.memcpy_dtoh(output, d_output)
    profiler.print_layer_times()
    print("output", " ".join(repr(float(value)) for value in output.ravel()))
    context.destroy()
    engine.destroy()
    runtime.destroy()


if __name__ == "__main__":
    main()

"""The whole way in the order of the C++ interface: parser, builder, plan, runtime, context, execution.

What fails raises an error; what C++ destroys goes when nothing refers to it. See docs/from-cpp.md for every call.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

import tensorwright as tw
from lenet_files import INPUT, OUTPUT, digits, report, write_caffe

MAX_BATCH = 32


class Logger(tw.ILogger):
    """Prints everything but information."""

    def log(self, severity: tw.Severity, msg: str) -> None:
        if severity < tw.Severity.INFO:
            print(f"{severity.name}: {msg}")


def build(logger: tw.ILogger, deploy: Path, model: Path) -> tw.HostMemory:
    """Caffe's files as a plan."""
    builder = tw.Builder(logger)
    network = builder.create_network()
    parser = tw.CaffeParser(logger)
    blobs = parser.parse(deploy, model, network, tw.float32)
    assert blobs is not None, "the logger was told why"
    for name in (OUTPUT,):
        tensor = blobs.find(name)
        assert tensor is not None
        network.mark_output(tensor)
    builder.max_batch_size = MAX_BATCH
    builder.max_workspace_size = 16 << 20
    config = builder.create_builder_config()
    config.builder_optimization_level = 1  # Tune little: LeNet is small.
    return builder.build_serialized_network(network, config)


def main() -> None:
    logger = Logger()
    with tempfile.TemporaryDirectory() as folder:
        serialized = build(logger, *write_caffe(Path(folder)))
        path = Path(folder) / "lenet.plan"
        path.write_bytes(serialized)
        runtime = tw.Runtime(logger)
        engine = runtime.deserialize_engine(path.read_bytes())
    context = engine.create_execution_context()
    images, labels = digits()
    probabilities = np.empty((len(labels), 10), np.float32)
    buffers = [0, 0]
    buffers[engine.get_binding_index(INPUT)] = images.ctypes.data
    buffers[engine.get_binding_index(OUTPUT)] = probabilities.ctypes.data
    stream = tw.Stream()
    context.enqueue(len(labels), buffers, stream.handle, None)
    stream.synchronize()
    report(probabilities)


if __name__ == "__main__":
    main()

"""The page for people who come from C++ names only what exists."""

from __future__ import annotations

import re
from operator import attrgetter
from pathlib import Path

import pytest

import tensorwright as tw
from tensorwright.api.caffe_parser import BlobNameToTensor
from tensorwright.api.layers.convolution import ConvolutionLayer
from tensorwright.api.layers.pooling import PoolingLayer
from tensorwright.api.layers.rnn import RNNv2Layer
from tensorwright.api.uff_parser import UffParser
from tensorwright.compat import tensorrt as trt
from tensorwright.compat.pycuda import driver as cuda

PAGE = Path(__file__).parents[2] / "docs" / "from-cpp.md"
ROWS = [
    [re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| C++"))
]
OURS = {
    "allocator": tw.Allocator, "blobs": BlobNameToTensor, "builder": tw.Builder(), "caffe_parser": tw.CaffeParser,
    "context": tw.ExecutionContext, "conv": ConvolutionLayer, "engine": tw.Engine, "layer": tw.Layer,
    "logger": tw.ILogger, "network": tw.NetworkDefinition, "onnx_parser": tw.OnnxParser, "pool": PoolingLayer,
    "config": tw.BuilderConfig(tw.Logger()), "factory": tw.PluginFactory, "rnn": RNNv2Layer,
    "runtime": tw.Runtime(), "stream": tw.Stream, "tensor": tw.Tensor, "tw": tw, "uff_parser": UffParser,
}  # fmt: skip
OLD = {
    "allocator": trt.infer.GpuAllocator, "blobs": trt.BlobNameToTensor, "builder": trt.Builder,
    "caffe_parser": trt.CaffeParser, "context": trt.infer.ExecutionContext, "conv": trt.infer.ConvolutionLayer,
    "cuda": cuda, "engine": trt.infer.CudaEngine, "factory": trt.infer.PluginFactory, "layer": trt.infer.Layer,
    "rnn": trt.infer.RNNv2Layer,
    "legacy_onnx_parser": trt.parsers.onnxparser.LegacyOnnxParser, "logger": trt.infer.Logger,
    "memory": trt.infer.HostMemory, "network": trt.infer.NetworkDefinition, "pool": trt.infer.PoolingLayer,
    "runtime": trt.infer.Runtime, "stream": cuda.Stream, "tensor": trt.infer.Tensor, "trt": trt,
    "uff_parser": trt.UffParser,
}  # fmt: skip
USUAL = """
    ILogger log Severity kINFO IBuilder IRuntime createInferBuilder INetworkDefinition createNetwork ICaffeParser
    createCaffeParser IBlobNameToTensor parse kFLOAT kHALF find markOutput IUffParser createUffParser registerInput
    DimsCHW UffInputOrder kNCHW registerOutput addInput Dims3 getOutput addConvolution DimsHW setStride addPooling
    PoolingType kMAX addFullyConnected addActivation ActivationType kRELU addSoftMax ITensor setName setMaxBatchSize
    setMaxWorkspaceSize ICudaEngine buildCudaEngine platformHasFastFp16 IHostMemory serialize destroy
    createInferRuntime deserializeCudaEngine IExecutionContext createExecutionContext getBindingIndex buffers
    enqueue createExecutionContextWithoutDeviceMemory setDeviceMemory getDeviceMemorySize IGpuAllocator allocate
    free setGpuAllocator
"""
NOT_CALLS = {"array.ctypes.data", "stream.handle"}


def calls(column):
    """Every dotted name in a column."""
    names = {
        name for row in ROWS for code in row[column] for name in re.findall(r"(?<![\w.])[a-z_]\w*(?:\.\w+)+", code)
    }
    return sorted(names - NOT_CALLS)


@pytest.mark.parametrize("name", calls(1))
def test_the_packages_own_name(name):
    owner, _, rest = name.partition(".")
    assert attrgetter(rest)(OURS[owner]) is not NotImplemented


@pytest.mark.parametrize("name", calls(2))
def test_the_older_name(name):
    owner, _, rest = name.partition(".")
    assert attrgetter(rest)(OLD[owner]) is not NotImplemented


@pytest.mark.parametrize("name", USUAL.split())
def test_the_page_has_the_names_of_the_usual_program(name):
    assert any(re.search(rf"\b{name}\b", code) for row in ROWS for code in row[0])


def test_the_page_has_rows():
    assert len(ROWS) > 50
    assert all(len(row) == 3 and row[0] + row[1] for row in ROWS)

"""Depthwise convolutions along one or two axes: in blocks of 32 channels, and of pixels between transpositions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tensorwright.codegen.cuda.targets import WARP, CudaTarget
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import packings
from tensorwright.kernels.cuda.depthwise.problem import Depthwise, Pixels, depthwise_of
from tensorwright.kernels.cuda.depthwise.write import DepthwiseKernel
from tensorwright.kernels.cuda.fragments.rows import ZEROS_TEXT
from tensorwright.kernels.cuda.function import ATTRIBUTES, signature, thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.cuda.share import roofline_share
from tensorwright.kernels.tactic import Array, Config, Packing, Tactic, pack_channels, plain_inputs
from tensorwright.tensor.dim import product
from tensorwright.tensor.layout import PLAIN

REGISTERS = 128
"""Of a thread: for the sums of 4 pixels and a row of what they read."""
MOST_SUMS = 32
"""Of a thread."""
OPTIONS = tuple(Pixels(pixels, warps) for pixels in (1, 2, 4) for warps in (4, 2, 8))


class DepthwiseConvolution(Tactic[CudaTarget, Pixels]):
    """A thread for some pixels of a vector of channels; see `kernels.cuda.depthwise`."""

    name = "depthwise"

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Pixels]]:
        found = None if bool(region.stages) != self.joins else depthwise_of(region)
        if found is None:
            return []
        inputs, output = (plain_inputs(region), PLAIN) if self.joins else (found.inputs, found.layout)
        sensible = [
            options
            for options in OPTIONS
            if options.pixels < 2 * found.columns.output and options.pixels * found.lanes <= MOST_SUMS
        ]
        return [Config(inputs, output, options) for options in sorted(sensible, key=found.estimate)]

    def efficiency(self, region: Region, config: Config[Pixels]) -> float:
        found = depthwise_of(region)
        assert found is not None
        return roofline_share(region, found.estimate(config.options))

    def emit(self, region: Region, config: Config[Pixels], target: CudaTarget) -> CudaKernel:
        found, options = depthwise_of(region), config.options
        assert found is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        DepthwiseKernel(found, options, emitter).write()
        threads = WARP * options.warps
        blocks = (product(found.extents(options.pixels)) + (threads - 1)) // threads
        return CudaKernel(
            text=f"{ZEROS_TEXT}\n{emitter.builder.module(signature(region, threads, REGISTERS), ATTRIBUTES)}",
            inputs=config.inputs,
            output=config.output,
            tasks=blocks,
            packings=_packings(found, config),
            symbols=region.symbols,
            grid=(blocks, 1, 1),
            block=threads,
            waits=target.has_dependent_launch,
        )


class DepthwiseRows(DepthwiseConvolution):
    """The same on images whose channels lie innermost, which the network turns before and after."""

    name = "depthwise rows"
    joins = True


def _packings(found: Depthwise, config: Config[Any]) -> tuple[Packing | None, ...]:
    block = found.layout.block
    return packings(found.stage, found.problem, config, _pack_weights(block), pack_channels(block, 0))


def _pack_weights(block: int) -> Packing:
    """``[C, 1, *K]`` to ``[blocks, taps, block]``, padded with zeros."""
    pack = pack_channels(block, 0).pack

    def packed(array: Array) -> Array:
        return np.ascontiguousarray(pack(array.reshape(len(array), -1)))

    return Packing(f"depthwise block={block}", packed)


TACTICS = (DepthwiseConvolution(), DepthwiseRows())

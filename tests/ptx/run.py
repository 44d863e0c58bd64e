"""Runs kernels of this package on the machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ptx.machine import Grid, Machine
from ptx.memory import GlobalMemory
from ptx.parse import parse
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.cuda.runner import arranged

Array = npt.NDArray[np.generic]


def run_on_machine(
    region: Region,
    kernel: CudaKernel,
    ptx: str,
    arrays: Sequence[Array],
    symbols: Mapping[str, int],
    shared: int | None = None,
) -> Array:
    """The region's output, row-major, for row-major inputs; what was not written is NaN, or nonsense for integers. Its
    counters have to be 0 again.

    shared: the number of an input whose memory the output has.
    """
    inputs, type = arranged(region, kernel, arrays), region.output.type
    shape = tuple(evaluate(dim, symbols) for dim in type.shape)
    output = np.full(evaluate(kernel.output.elements(shape), symbols) * type.dtype.size, 0xA5, np.uint8)
    output = output.view(type.dtype.numpy)
    if type.dtype.is_float:
        output[:] = np.nan
    scratch = np.full(kernel.counters + kernel.workspace, 0xA5, np.uint8)
    scratch[: kernel.counters] = 0
    memory = GlobalMemory(sum(a.nbytes + 1024 for a in (output, *inputs, scratch)) + (1 << 16))
    places = [memory.place(array) for array in inputs]
    place = memory.place(output) if shared is None else places[shared]
    counters = memory.place(scratch)
    addresses = [place, *places, counters + kernel.counters]
    grid = Grid(
        tuple(evaluate(size, symbols) for size in kernel.grid), kernel.block, kernel.cluster, kernel.shared_bytes
    )
    if evaluate(kernel.tasks, symbols):
        arguments = [*addresses, *kernel.arguments(symbols)]
        maps = [one.at(addresses[one.operand], symbols) for one in kernel.maps]
        Machine(parse(ptx), grid, memory, arguments, maps).run()
        assert not memory.bytes[counters : counters + kernel.counters].any()
    raw = memory.bytes[place : place + output.nbytes].copy().view(type.dtype.numpy)
    return from_layout(raw, kernel.output, shape)

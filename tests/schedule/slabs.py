"""Whether the tasks of a kernel touch what the kernel says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from cases.case import Array
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.tactic import Kernel
from tensorwright.schedule.cpu.boxes import Boxes, touched
from tensorwright.tensor.arrange import from_layout
from tensorwright.tensor.dim import evaluate
from tensorwright.tune.cpu.kernel_runner import LoadedKernel, prepare
from tensorwright.tune.memory import aligned_copy, poisoned

MOST_TASKS = 6


def inside(boxes: Boxes, task: int, elements: int) -> npt.NDArray[np.bool_]:
    """Which elements of a tensor's memory belong to a task."""
    mask = np.zeros(boxes.shape, np.bool_)
    mask[tuple(slice(int(r.low[task]), int(r.high[task])) for r in boxes.ranges)] = True
    assert mask.size == elements
    return mask.reshape(-1)


def check_slabs(
    region: Region,
    kernel: Kernel,
    loaded: LoadedKernel,
    arrays: Sequence[Array],
    rng: np.random.Generator,
) -> None:
    """If a kernel says what its tasks touch, run some of them between NaN: their part of the output is right, the rest
    is left alone, and nothing changes when inputs are NaN but where the task reads.
    """
    known = touched(region, kernel)
    if known is None:
        return
    whole = prepare(region, kernel, arrays, {})
    loaded.call(*whole.arguments)
    tasks = {0, whole.tasks - 1, *rng.integers(0, whole.tasks, MOST_TASKS).tolist()} if whole.tasks else set()
    shape = tuple(evaluate(dim, {}) for dim in region.output.type.shape)
    for task in tasks:
        inputs = []
        for number, array in enumerate(whole.inputs):
            copy, boxes = aligned_copy(array), known.inputs[number]
            if (
                not is_constant(region.inputs[number])
                and boxes is not None
                and region.input_types[number].dtype.is_float
            ):
                read = np.any([inside(each, task, array.size) for each in boxes], axis=0)
                copy[~read] = np.nan  # type: ignore[call-overload]
            inputs.append(copy)
        output = poisoned(whole.output.size, region.output.type.dtype)
        before = output.tobytes()
        operands = replace(whole, output=output, inputs=tuple(inputs))
        loaded.call(*operands.arguments[:-2], task, task + 1)
        mine = inside(known.output, task, output.size)
        size = output.dtype.itemsize
        raw = np.frombuffer(before, np.uint8).reshape(-1, size)
        assert (output.view(np.uint8).reshape(-1, size)[~mine] == raw[~mine]).all(), (task, "writes elsewhere")
        wanted = np.where(mine, whole.output, np.zeros_like(output))
        found = np.where(mine, output, np.zeros_like(output))
        logical = [from_layout(each, kernel.output, shape) for each in (found, wanted)]
        assert np.array_equal(*logical, equal_nan=output.dtype.kind == "f"), (task, "reads elsewhere or writes less")

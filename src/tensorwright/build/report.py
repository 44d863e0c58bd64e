"""What a build decided and measured, as plain data for people, `inspect` and the profiler."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tensorwright.backends.backend import Toolchain
from tensorwright.graph.graph import Graph, Value, is_constant
from tensorwright.kernels.tactic import Offer
from tensorwright.kernels.work import bytes_read, bytes_written, work
from tensorwright.ops.blocks import BlockMatMul
from tensorwright.ops.indexing import Gather
from tensorwright.plan.plan import Json
from tensorwright.schedule.program import Program, Step
from tensorwright.schedule.tensors import StepMemory, StoredTensor, memory_of
from tensorwright.tensor.dim import tuning_value
from tensorwright.tune.choice import Choice, Trial
from tensorwright.tune.machine import Machine
from tensorwright.tune.tolerance import FAST_ALGORITHM_BOUND

MAX_TRIALS = 40


def build_report(
    graph: Graph,
    program: Program,
    tools: Toolchain,
    machine: Machine | None,
    fast_algorithms: bool = True,
    caches: Mapping[str, str] | None = None,
) -> Mapping[str, Json]:
    """The report of a finished program.

    `steps` has one entry per step, in order; times are milliseconds of one thread's share, sizes are bytes, errors
    are relative to the largest output. `reads`, `writes` and `constants` are numbers in `tensors` and in `constants`;
    `waits`: whether `threads` threads wait for each other before the step. A tensor lies in the `arena` at an offset,
    or is the input or output that `offset` counts; it is needed from step `first` to step `last`, both included: -1 is
    before all steps, their number after all. `work` is what the chosen kernel really does: floating-point operations of
    its algorithm, bytes of activations (inputs and output, once, as far as they are read and written, caches in place)
    and of packed constants (of tables, what is read of them). `precision` is the element type of what a step
    multiplies, or else of its result. `barriers`: before how many of the steps but the first one `threads` threads wait
    for each other. `machine` says what all threads together reach at best; only the target if nothing was measured.
    `caches`: by name of an input, the output that may be the same memory.
    """
    sizes = {constant.offset: constant.size for constant in program.constants}
    bound = program.arena_lower_bound
    memory, waits = memory_of(program), frozenset(program.waits(tools.threads))
    numbers = {constant.offset: number for number, constant in enumerate(program.constants)}
    return {
        "network": graph.name,
        "threads": tools.threads,
        "fast_algorithms": {"allowed": fast_algorithms, "error_bound": FAST_ALGORITHM_BOUND},
        "machine": {"target": tools.target, **(machine.json() if machine else {})},
        "steps": [
            {**_step(step, sizes, tools.offers), **_uses(used, numbers), "waits": number in waits}
            for number, (step, used) in enumerate(zip(program.steps, memory.steps, strict=True))
        ],
        "tensors": [_tensor(tensor) for tensor in memory.tensors],
        "constants": _constants(program),
        "caches": dict(caches or {}),
        "barriers": {"kept": len(waits), "of": len(program.steps[1:])},
        "arena": {
            "bytes": program.arena_bytes,
            "lower_bound": bound,
            "ratio": program.arena_bytes / bound if bound else 1.0,
        },
        "weights_bytes": program.weights_bytes,
        "workspace_bytes": program.workspace_bytes,
    }


def _uses(used: StepMemory, numbers: Mapping[int, int]) -> dict[str, Json]:
    constants: list[Json] = [numbers[offset] for offset in used.constants]
    return {"reads": list(used.reads), "writes": used.writes, "constants": constants}


def _tensor(tensor: StoredTensor) -> Json:
    return {
        "name": tensor.value.name,
        "type": repr(tensor.value.type),
        "layout": repr(tensor.layout),
        "place": tensor.address.base,
        "offset": tensor.address.offset,
        "bytes": tensor.size,
        "first": tensor.first,
        "last": tensor.last,
    }


def _constants(program: Program) -> list[Json]:
    names: dict[int, str] = {}
    for step in program.steps:
        for value, operand in zip(step.choice.region.inputs, step.operands[1:], strict=True):
            if operand.base == "weights":
                names.setdefault(operand.offset, value.name)
    return [{"name": names.get(c.offset, ""), "type": repr(c.weights.type), "bytes": c.size} for c in program.constants]


def _step(step: Step, sizes: Mapping[int, int], offers: Sequence[Offer]) -> dict[str, Json]:
    choice: Choice = step.choice
    needed = work(choice.region)
    return {
        "name": choice.name,
        "operators": [value.op.name for value in choice.region.values],
        "output": repr(choice.region.output.type),
        "precision": _precision(choice),
        "tactic": choice.trial.tactic,
        "config": repr(choice.trial.config),
        "milliseconds": None if choice.trial.seconds is None else choice.trial.seconds * 1e3,
        "estimate": choice.trial.estimate * 1e3,
        "error": choice.trial.error,
        "flops": tuning_value(needed.flops),
        "bytes": tuning_value(needed.bytes),
        "work": _work(step, sizes, offers),
        "tasks": tuning_value(step.kernel.tasks),
        "trials": [_trial(trial) for trial in sorted(choice.trials, key=lambda t: t.cost)[:MAX_TRIALS]],
    }


def _precision(choice: Choice) -> str:
    """The element type of what a step multiplies, or else of its result, with the bits of weights in blocks."""
    anchor = choice.region.anchor
    if anchor is not None and isinstance(anchor.op, BlockMatMul):
        return f"{anchor.inputs[0].type.dtype} by {anchor.op.bits} bits"
    return str((choice.region.output if anchor is None else anchor.inputs[0]).type.dtype)


def _work(step: Step, sizes: Mapping[int, int], offers: Sequence[Offer]) -> Json:
    region, trial = step.choice.region, step.choice.trial
    own = next(offer for offer in offers if offer.name == trial.tactic).work(region, trial.config)
    tables = {value.inputs[0] for value in region.values if isinstance(value.op, Gather)}
    activations, constants = tuning_value(bytes_written(region)), 0
    for value, operand in zip(region.inputs, step.operands[1:], strict=True):
        if is_constant(value):
            size = sizes[operand.offset] if operand.base == "weights" else _bytes(value)
            constants += min(size, _bytes(region.output)) if value in tables else size
        else:
            activations += tuning_value(bytes_read(region, value))
    return {"flops": tuning_value(own.flops), "activation_bytes": activations, "constant_bytes": constants}


def _bytes(value: Value) -> int:
    return tuning_value(value.type.elements) * value.type.dtype.size


def _trial(trial: Trial) -> Json:
    return {
        "tactic": trial.tactic,
        "config": repr(trial.config),
        "milliseconds": None if trial.seconds is None else trial.seconds * 1e3,
        "error": trial.error,
        "rejected": trial.rejected,
    }

"""What a build decided and measured, as plain data for people, `inspect` and the profiler."""

from __future__ import annotations

from collections.abc import Mapping

from tensorwright.codegen.target import Target
from tensorwright.graph.graph import Graph
from tensorwright.kernels.work import work
from tensorwright.plan.plan import Json
from tensorwright.schedule.program import Program, Step
from tensorwright.tensor.dim import tuning_value
from tensorwright.tune.choice import Choice, Trial
from tensorwright.tune.reference import FAST_ALGORITHM_BOUND

MAX_TRIALS = 40


def build_report(
    graph: Graph, program: Program, target: Target, threads: int, fast_algorithms: bool = True
) -> Mapping[str, Json]:
    """The report of a finished program.

    `steps` has one entry per step, in order; times are milliseconds of one thread's share, sizes are bytes, errors
    are relative to the largest output.
    """
    bound = program.arena_lower_bound
    return {
        "network": graph.name,
        "threads": threads,
        "fast_algorithms": {"allowed": fast_algorithms, "error_bound": FAST_ALGORITHM_BOUND},
        "machine": {"instruction_set": target.name},
        "steps": [_step(step) for step in program.steps],
        "arena": {
            "bytes": program.arena_bytes,
            "lower_bound": bound,
            "ratio": program.arena_bytes / bound if bound else 1.0,
        },
        "weights_bytes": program.weights_bytes,
        "workspace_bytes": program.workspace_bytes,
    }


def _step(step: Step) -> Json:
    choice: Choice = step.choice
    needed = work(choice.region)
    return {
        "name": choice.name,
        "operators": [value.op.name for value in choice.region.values],
        "output": repr(choice.region.output.type),
        "tactic": choice.trial.tactic,
        "config": repr(choice.trial.config),
        "milliseconds": None if choice.trial.seconds is None else choice.trial.seconds * 1e3,
        "error": choice.trial.error,
        "flops": tuning_value(needed.flops),
        "bytes": tuning_value(needed.bytes),
        "tasks": tuning_value(step.call.tasks),
        "trials": [_trial(trial) for trial in sorted(choice.trials, key=lambda t: t.cost)[:MAX_TRIALS]],
    }


def _trial(trial: Trial) -> Json:
    return {
        "tactic": trial.tactic,
        "config": repr(trial.config),
        "milliseconds": None if trial.seconds is None else trial.seconds * 1e3,
        "error": trial.error,
        "rejected": trial.rejected,
    }

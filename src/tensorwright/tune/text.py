"""Choices as text: for each region what won, and what it won against."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.base.text import printable
from tensorwright.graph.graph import Value
from tensorwright.graph.text import Names, names_of
from tensorwright.tensor.dim import tuning_value
from tensorwright.tune.choice import Choice, Trial


def choices_text(choices: Sequence[Choice]) -> str:
    """All choices in order, each with every candidate that was considered, the fastest first."""
    names = names_of(_values(choices))
    return "\n".join(choice_text(number, choice, names) for number, choice in enumerate(choices))


def _values(choices: Sequence[Choice]) -> list[Value]:
    return [value for choice in choices for value in (*choice.region.inputs, *choice.region.values)]


def choice_text(number: int, choice: Choice, names: Names) -> str:
    """One choice: ``*`` stands before what was chosen, ``-`` before what may not be used."""
    region, kernel = choice.region, choice.kernel
    operators = " + ".join(value.op.name for value in region.values)
    lines = [f"choice {number} = {names.of(region.output)}{' (reorder)' if choice.is_reorder else ''}: {operators}"]
    for value, layout in zip(region.inputs, kernel.inputs, strict=True):
        lines.append(f"  reads   {names.of(value)}: {printable(repr(value.type))} {layout}")
    lines.append(f"  writes  {names.of(region.output)}: {printable(repr(region.output.type))} {kernel.output}")
    tasks = f"{kernel.tasks} ({tuning_value(kernel.tasks)})" if not isinstance(kernel.tasks, int) else kernel.tasks
    lines.append(f"  kernel  {kernel.name}, {tasks} tasks, {kernel.workspace} bytes of workspace")
    lines += [_trial_text(trial, _is(trial, choice.trial)) for trial in _sorted(choice)]
    return "\n".join(lines) + "\n"


def _sorted(choice: Choice) -> list[Trial]:
    trials = choice.trials if any(_is(trial, choice.trial) for trial in choice.trials) else (choice.trial,)
    return sorted(trials, key=lambda trial: (bool(trial.rejected), trial.cost))


def _is(trial: Trial, chosen: Trial) -> bool:
    return (trial.tactic, trial.config) == (chosen.tactic, chosen.config)


def _trial_text(trial: Trial, chosen: bool) -> str:
    mark = "*" if chosen else "-" if trial.rejected else " "
    time = f"{trial.estimate * 1e3:.4f} ms estimated" if trial.seconds is None else f"{trial.seconds * 1e3:.4f} ms"
    error = "" if trial.error is None else f", error {trial.error:.1e}"
    why = f", rejected: {printable(trial.rejected)}" if trial.rejected else ""
    return f"  {mark} {time}{error}  {trial.tactic}  {trial.config!r}{why}"

"""Proves that a program does what its graph says, for every number of threads that is asked for, in any order.

What is proved, with all dimensions at their largest and again at their smallest:

- every step reads, of every operand, what the step or input that defines it put there; so nothing is read before it is
  written, or overwritten while it is still needed; at the end all outputs lie in their bindings, and what is kept where
  it was written;
- memory that a step overwrites while it reads it is of an operand that its kernel may overwrite, at the same place;
- between two times that all threads wait for each other, no thread touches memory that another one writes;
- everything lies inside the arena, its binding, the weights, and the workspace.

What a task writes is seen by running the kernel on filled memory; where code for another machine cannot run, it is what
the kernel says. What it reads follows from the definition of its region for the elements that it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tensorwright.base.errors import BuildError
from tensorwright.graph.graph import is_constant, weights_in
from tensorwright.kernels.tactic import Kernel
from tensorwright.schedule.check.conflicts import Group, Touched, groups
from tensorwright.schedule.check.contents import NOTHING, Contents, Names, Numbers, piece_size
from tensorwright.schedule.check.observed import Loaded, claimed, prepare, written
from tensorwright.schedule.check.shares import NOBODY, Owners, Segments
from tensorwright.schedule.check.steps import Look, Operand
from tensorwright.schedule.program import PackedConstant, Program
from tensorwright.tensor.dim import Symbol, evaluate
from tensorwright.tensor.layout import PLAIN

Load = Callable[[Kernel], Loaded]


@dataclass(frozen=True, eq=False)
class Checker:
    """What is needed to look at the steps of a program; load: as in `check_program`."""

    program: Program
    load: Load | None
    threads: tuple[int, ...]
    known: dict[tuple[object, ...], Owners | None] = field(default_factory=dict)

    def check(self, symbols: Mapping[str, int]) -> None:
        looks = [self._look(number, symbols) for number in range(len(self.program.steps))]
        names = Names(piece_size(self.program), symbols)
        _check_contents(self.program, looks, names)
        for threads in self.threads:
            self._check_threads(looks, threads, names)

    def _check_threads(self, looks: Sequence[Look], threads: int, names: Names) -> None:
        spaces = {space: array.size for space, array in Contents.of(self.program, names).spaces.items()}
        for steps in groups(looks, threads):
            if len(steps) > 1 or steps[0].is_in_place:
                touched = {space: Touched.none(size) for space, size in spaces.items()}
                Group(threads, names.piece, touched).check(steps)

    def _look(self, number: int, symbols: Mapping[str, int]) -> Look:
        step = self.program.steps[number]
        segments = Segments.of(evaluate(step.kernel.tasks_of_wave, symbols), self.threads)
        return Look(number, step, symbols, segments, self._written)

    def _written(self, look: Look) -> Owners | None:
        kernel, symbols = look.step.kernel, look.symbols
        key = (kernel.name, kernel.arguments(symbols), look.segments, evaluate(kernel.waves, symbols), look.output.size)
        if key not in self.known:
            self.known[key] = self._found(look)
        return self.known[key]

    def _found(self, look: Look) -> Owners | None:
        output = look.output
        if self.load is None:
            return claimed(look.step.kernel, output.size, output.value.type.dtype.size, look.segments)
        constants = {constant.offset: constant for constant in self.program.constants}
        try:
            return written(prepare(look.step, self.load(look.step.kernel), constants, look.symbols), look.segments)
        except BuildError as error:
            raise BuildError(f"{look.name}: {error}") from None


def check_program(
    program: Program,
    symbols: Iterable[Symbol],
    threads: Iterable[int],
    load: Load | None,
) -> None:
    """Check a program; see the module.

    threads: the numbers of threads to check it for. load: makes a kernel ready to run; None where it cannot run.

    Raises:
        BuildError: it may compute something else; the message names steps, tensors, bytes and threads.
    """
    try:
        _check_constants(program)
        checker = Checker(program, load, tuple(sorted(set(threads))))
        known = tuple(symbols)
        cases = [{s.name: s.max for s in known}, {s.name: s.min for s in known}]
        for case in cases if known else cases[:1]:
            checker.check(case)
    except BuildError as error:
        raise BuildError(f"the plan is wrong (a defect of tensorwright): {error}") from None


def _check_constants(program: Program) -> None:
    """Every step reads its own constants, and every workspace suffices."""
    constants = {constant.offset: constant for constant in program.constants if constant.size}
    _expect_apart(program, sorted(constants.values(), key=lambda constant: constant.offset))
    for number, step in enumerate(program.steps):
        name = f"step {number} '{step.choice.name}'"
        if step.kernel.workspace > program.workspace_bytes:
            raise BuildError(
                f"{name} needs {step.kernel.workspace} bytes of workspace for each thread, there are "
                f"{program.workspace_bytes}"
            )
        for value, address in zip(step.choice.region.inputs, step.operands[1:], strict=True):
            if is_constant(value) != (address.base == "weights"):
                raise BuildError(f"{name}: '{value.name}' is read from the {address.base}")
            if is_constant(value) and not value.type.is_empty:
                found = constants.get(address.offset)
                if found is None or found.weights.digest != weights_in(value).digest:
                    raise BuildError(f"{name}: byte {address.offset} of the weights is not where '{value.name}' starts")


def _expect_apart(program: Program, constants: Sequence[PackedConstant]) -> None:
    end = 0
    for constant in constants:
        if constant.offset < end:
            raise BuildError(f"the constant at byte {constant.offset} of the weights starts inside the one before it")
        end = constant.offset + constant.size
    if end > program.weights_bytes:
        raise BuildError(f"constants end at byte {end} of {program.weights_bytes} bytes of weights")


def _check_contents(program: Program, looks: Sequence[Look], names: Names) -> None:
    """Run the steps in order and look at what each of them reads, and at the outputs in the end."""
    for _, value in program.inputs:
        names.add(value)
    for look in looks:
        if not look.step.choice.is_reorder:
            names.add(look.output.value)
    contents = Contents.of(program, names)
    for look in looks:
        for operand in look.inputs:
            _expect(contents, names, operand, f"{look.name} reads {operand}")
        _expect_in_place(look)
        _write(contents, names, look, len(program.inputs))
    for number, (name, value) in enumerate(program.outputs, len(program.inputs)):
        found, wanted = contents.spaces["binding", number], names.in_memory(value, PLAIN)
        _expect_equal(found, wanted, names, f"output '{name}' at the end")
    kept = {value: name for name, value in program.kept}
    for look in looks:
        if look.output.value in kept:
            _expect(contents, names, look.output, f"'{kept[look.output.value]}' at the end")


def _expect(contents: Contents, names: Names, operand: Operand, what: str) -> None:
    found = contents.at(operand.address, operand.size // names.piece)
    if found is None:
        raise BuildError(f"{what}, which is not all inside it")
    try:
        wanted = names.in_memory(operand.value, operand.layout)
    except KeyError:
        raise BuildError(f"{what}, which no step computes") from None
    _expect_equal(found, wanted, names, what)


def _expect_equal(found: Numbers, wanted: Numbers, names: Names, what: str) -> None:
    wrong = (found != wanted) & (wanted != NOTHING)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise BuildError(
            f"{what}: its byte {first * names.piece} should be of {names.called(int(wanted[first]))}, and is of "
            f"{names.called(int(found[first]))}; {int(wrong.sum()) * names.piece} bytes are wrong"
        )


def _expect_in_place(look: Look) -> None:
    wrong = look.misplaced()
    if wrong is not None:
        raise BuildError(f"{look.name} writes {look.output} over {wrong}, which its kernel may not overwrite")


def _write(contents: Contents, names: Names, look: Look, inputs: int) -> None:
    """Put a step's result where the step writes."""
    output = look.output
    found = contents.at(output.address, output.size // names.piece)
    if found is None:
        raise BuildError(f"{look.name} writes {output}, which is not all inside it")
    if output.address.base == "binding" and output.address.offset < inputs:
        raise BuildError(f"{look.name} writes {output}, an input of the network")
    owners = look.segment_of
    wanted = names.in_memory(output.value, output.layout)
    if owners is None:
        found[:] = wanted
        return
    touched = np.repeat(owners != NOBODY, names.pieces(output.value))
    found[touched] = wanted[touched]

"""Program and executable to plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from tensorwright.backends.backend import Toolchain
from tensorwright.build.indices import Uses
from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.region import Region
from tensorwright.ops.indexing import Gather, GatherElements, GatherNd
from tensorwright.plan.manifest import joined_code, require_readable
from tensorwright.plan.plan import Binding, Executable, IndexUse, Json, Plan, PlanStep, Slice
from tensorwright.plan.seal import sealed
from tensorwright.schedule.program import Program, Step
from tensorwright.tensor.dim import Symbol
from tensorwright.tensor.layout import physical_bytes

_GATHERS = (Gather, GatherElements, GatherNd)


def assemble(
    name: str,
    program: Program,
    symbols: Sequence[Symbol],
    tools: Toolchain,
    executable: Executable,
    report: Mapping[str, Json],
    batch_symbol: str | None = None,
    uses: Uses = MappingProxyType({}),
) -> Plan:
    """The plan of a program, before it has its seal.

    uses: what the indices are used for whose ranges the program keeps.
    """
    return Plan(
        name=name,
        stamp=tools.stamp,
        bindings=bindings_of(program),
        symbols=tuple(symbols),
        batch_symbol=batch_symbol,
        executable=executable,
        arena_bytes=program.arena_bytes,
        workspace_bytes=program.workspace_bytes,
        threads=tools.threads,
        weights=program.weights,
        steps=_steps(program),
        tables=_tables(program),
        indices=_indices(program, uses),
        report=report,
    )


def together(plans: Sequence[Plan], symbols: Sequence[Symbol], bindings: Sequence[Binding]) -> Plan:
    """The plan whose profiles are these plans, which have the same weights, before it has its seal.

    symbols, bindings: those of the network, with ranges that hold those of all profiles.
    """
    first = plans[0]
    libraries = {name: version for plan in plans for name, version in plan.executable.libraries.items()}
    ranges: list[Json] = [{s.name: [s.min, s.opt, s.max] for s in plan.symbols} for plan in plans]
    return replace(
        first,
        symbols=tuple(symbols),
        bindings=tuple(bindings),
        executable=Executable(joined_code([plan.executable.code for plan in plans]), {}, libraries),
        arena_bytes=max(plan.arena_bytes for plan in plans),
        workspace_bytes=max(plan.workspace_bytes for plan in plans),
        steps=(),
        tables=_shared_tables(plans),
        indices=(),
        report={**first.report, "profiles": ranges, "reports": [dict(plan.report) for plan in plans[1:]]},
        profiles=tuple(plans),
    )


def finished(plan: Plan) -> Plan:
    """The plan with its seal.

    Raises:
        BuildError: it could not be loaded.
    """
    require_readable(plan)
    return sealed(plan)


def _shared_tables(plans: Sequence[Plan]) -> tuple[tuple[int, int], ...]:
    """The parts of the weights that no plan reads whole, and some only here and there."""
    whole: set[int] = set()
    tables: set[tuple[int, int]] = set()
    for plan in plans:
        own = {offset for offset, _ in plan.tables}
        reads = (part for step in plan.steps for part in step.reads if part.base == "weights")
        whole.update(part.place for part in reads if part.place not in own)
        tables.update(plan.tables)
    return tuple(sorted(table for table in tables if table[0] not in whole))


def bindings_of(network: Graph | Program) -> tuple[Binding, ...]:
    """Inputs and outputs, in order."""
    inputs = [Binding(name, "input", value.type) for name, value in network.inputs]
    return (*inputs, *(Binding(name, "output", value.type) for name, value in network.outputs))


def _steps(program: Program) -> tuple[PlanStep, ...]:
    sizes = {constant.offset: constant.size for constant in program.constants}
    return tuple(_touched(step, sizes) for step in program.steps)


def _touched(step: Step, constants: Mapping[int, int]) -> PlanStep:
    """The memory that a step touches. constants: their sizes in bytes by where they start."""
    kernel, region = step.kernel, step.choice.region
    output, *inputs = step.operands
    value, layout = step.choice.result
    written = Slice(output.base, output.offset, physical_bytes(value.type, layout))
    reads = []
    for address, operand, stored in zip(inputs, region.inputs, kernel.inputs, strict=True):
        packed = constants[address.offset] if address.base == "weights" else None
        size = physical_bytes(operand.type, stored) if packed is None else packed
        reads.append(Slice(address.base, address.offset, size))
    return PlanStep((written,), tuple(reads), kernel.workspace)


def _indices(program: Program, uses: Uses) -> tuple[IndexUse, ...]:
    results = [(*step.choice.result, step.operands[0].offset) for step in program.steps]
    places = {value: offset for value, layout, offset in results if layout.is_plain}
    return tuple(
        IndexUse(use.node, places[value], use.extents, use.signed) for name, value in program.kept for use in uses[name]
    )


def _tables(program: Program) -> tuple[tuple[int, int], ...]:
    """Offset and size of the constants that are only gathered from."""
    sizes = {constant.offset: constant.size for constant in program.constants}
    gathered: set[int] = set()
    whole: set[int] = set()
    for step in program.steps:
        for value, operand in zip(step.choice.region.inputs, step.operands[1:], strict=True):
            if operand.base == "weights":
                (gathered if _is_gathered(step.choice.region, value) else whole).add(operand.offset)
    return tuple((offset, sizes[offset]) for offset in sorted(gathered - whole) if sizes[offset])


def _is_gathered(region: Region, table: Value) -> bool:
    """Whether a region reads an input only here and there."""
    readers = [value for value in region.values if table in value.inputs]
    return all(isinstance(value.op, _GATHERS) and table not in value.inputs[1:] for value in readers)

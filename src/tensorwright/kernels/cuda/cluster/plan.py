"""Which stages the blocks of a cluster have, and in which layouts tensors pass between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.graph.graph import Value, is_constant, storage_root
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.cluster.stages import (
    Cluster,
    ElementStage,
    ProductStage,
    Stage,
    element_stage,
    product_microseconds,
)
from tensorwright.kernels.cuda.fragments.packing import pack_weights
from tensorwright.kernels.cuda.fragments.sums import QUAD
from tensorwright.kernels.cuda.fragments.tactic import Fragments
from tensorwright.kernels.cuda.fragments.tiling import tilings_alone
from tensorwright.kernels.cuda.operands import is_aligned, layouts, packings
from tensorwright.kernels.tactic import Config, Packing, TacticOptions
from tensorwright.kernels.work import work
from tensorwright.ops.cache import CacheUpdate
from tensorwright.tensor.dim import tuning_value, upper_bound
from tensorwright.tensor.layout import PLAIN, Layout

MOST_REGISTERS = 160
"""Of a product's threads: some are left for what all stages share."""
ALIGNMENT = 128
"""Bytes to which results in workspace are aligned."""


@dataclass(frozen=True)
class Run:
    """The stages in order, and where the result of each but the last begins in workspace, in bytes."""

    region: Region
    stages: tuple[Stage, ...]
    places: Mapping[Value, int]
    workspace: int

    @property
    def packings(self) -> tuple[Packing | None, ...]:
        """Of the inputs of the whole region."""
        found = {v: p for stage in self.stages for v, p in zip(stage.region.inputs, stage.packings, strict=True)}
        return tuple(found[value] for value in self.region.inputs)

    @property
    def microseconds(self) -> float:
        return sum(stage.microseconds for stage in self.stages)


@dataclass
class _Plan:
    """What is decided so far: the layouts of tensors, and how constants are packed."""

    region: Region
    cluster: Cluster
    target: CudaTarget
    products: Fragments
    layouts: dict[Value, Layout]
    packed: dict[Value, Packing | None] = field(default_factory=dict)

    def product(self, stage: Region) -> ProductStage | None:
        """A stage by tensor cores, if it is a product whose operands can lie as it wants them."""
        problem = self.products.problem_for(stage, self.target)
        if problem is None:
            return None
        inputs = layouts(stage, problem)
        arithmetic = self.products.arithmetic(problem.dtype, self.target)
        offered = tilings_alone(problem, self.target, self.cluster.threads, splits=arithmetic.splits)
        possible = [tiling for tiling in offered if tiling.registers <= MOST_REGISTERS]
        if not possible or not is_aligned(stage, inputs, problem.layout, QUAD):
            return None
        microseconds, number = min(
            (product_microseconds(problem, one, self.cluster), n) for n, one in enumerate(possible)
        )
        config = Config(inputs, problem.layout, possible[number])
        weights = pack_weights(problem, rounds=self.products.rounding > 0)
        packed = packings(stage, problem, config, weights)
        found = ProductStage(stage, config, problem, arithmetic, packed, microseconds)
        return found if self._agrees(found) else None

    def elements(self, stage: Region) -> ElementStage | None:
        """A stage by single threads or warps, which take tensors as they lie."""
        inputs = tuple(self.layouts.get(storage_root(value), PLAIN) for value in stage.inputs)
        config = Config(inputs, self.layouts.get(stage.output, PLAIN), TacticOptions())
        found = element_stage(stage, config, self.cluster)
        return found if self._agrees(found) else None

    def _agrees(self, stage: Stage) -> bool:
        """Whether a stage goes with what is decided; then it is decided."""
        inputs = list(zip(stage.region.inputs, stage.inputs, stage.packings, strict=True))
        lie = [(value, layout) for value, layout, _ in inputs if not is_constant(value)]
        layouts, packed = dict(self.layouts), dict(self.packed)
        for value, layout in [*lie, (stage.region.output, stage.output)]:
            is_view = value.op.kind == "view"
            if layouts.setdefault(storage_root(value), layout) != layout or (is_view and not layout.is_plain):
                return False
        for value, packing in [(value, packing) for value, _, packing in inputs if is_constant(value)]:
            if _name(packed.setdefault(value, packing)) != _name(packing):
                return False
        self.layouts, self.packed = layouts, packed
        return True


def run_of(region: Region, cluster: Cluster, target: CudaTarget, products: Fragments) -> Run | None:
    """The stages of a joined region, products first as to how tensors lie; None if a cluster cannot compute it.

    What the region reads and its result are row-major.
    """
    if any(stage.is_sequential or isinstance(stage.output.op, CacheUpdate) for stage in region.stages):
        return None
    outside = {storage_root(v): PLAIN for v in (*region.inputs, region.output) if not is_constant(v)}
    plan = _Plan(region, cluster, target, products, outside)
    by_work = sorted(region.stages, key=lambda stage: -tuning_value(work(stage).flops))
    found: dict[Region, Stage | None] = {stage: plan.product(stage) for stage in by_work}
    stages = [found[stage] or plan.elements(stage) for stage in region.stages]
    return None if None in stages else _placed(region, [stage for stage in stages if stage is not None])


def _placed(region: Region, stages: Sequence[Stage]) -> Run:
    places, end = dict[Value, int](), 0
    for stage in stages[:-1]:
        output = stage.region.output
        places[output] = end
        elements = upper_bound(stage.output.elements(output.type.shape))
        end += -(-elements * output.type.dtype.size // ALIGNMENT) * ALIGNMENT
    return Run(region, tuple(stages), places, end)


def _name(packing: Packing | None) -> str:
    return "" if packing is None else packing.name

"""Products and convolutions in float16 and bfloat16 with constant right operands, on tensor cores."""

from __future__ import annotations

from collections.abc import Sequence

from tensorwright.codegen.cuda.targets import CudaTarget
from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.graph.expression import Load, depends, walk
from tensorwright.graph.graph import is_constant
from tensorwright.graph.region import Region
from tensorwright.kernels.cuda.fragments.packing import pack_bias, pack_weights
from tensorwright.kernels.cuda.fragments.plan import Plan, plans
from tensorwright.kernels.cuda.fragments.problem import QUAD, Problem, problem_of
from tensorwright.kernels.cuda.fragments.rows import ZEROS_TEXT
from tensorwright.kernels.cuda.fragments.sums import SHARED_TEXT
from tensorwright.kernels.cuda.fragments.write import FragmentKernel
from tensorwright.kernels.cuda.function import ATTRIBUTES, signature, thread_emitter
from tensorwright.kernels.cuda.kernel import CudaKernel
from tensorwright.kernels.tactic import AnyConfig, Config, Packing, Tactic, pack_channels
from tensorwright.tensor.dim import Dim, IntegerExpression, product
from tensorwright.tensor.dtype import BFLOAT16
from tensorwright.tensor.layout import PLAIN, Layout


class FragmentProduct(Tactic[CudaTarget, Plan]):
    """Operands go from memory straight into the registers of `mma` instructions; see `kernels.cuda.fragments`."""

    name = "fragment product"

    def configs(self, region: Region, target: CudaTarget) -> Sequence[Config[Plan]]:
        problem = problem_of(region)
        if problem is None or (problem.dtype == BFLOAT16 and target.capability < 80):
            return []
        inputs = _layouts(region, problem)
        if not _is_aligned(region, inputs, problem):
            return []
        return [Config(inputs, problem.layout, plan) for plan in plans(problem, target)]

    def emit(self, region: Region, config: Config[Plan], target: CudaTarget) -> CudaKernel:
        problem, plan = problem_of(region), config.options
        assert problem is not None
        emitter = thread_emitter(len(region.inputs), region.symbols, target)
        FragmentKernel(region, config, problem, plan, target, emitter).write()
        grid = plan.grid(problem)
        function = emitter.builder.module(signature(region, plan.threads), ATTRIBUTES)
        return CudaKernel(
            text=f"{SHARED_TEXT}\n{ZEROS_TEXT}\n{function}",
            inputs=config.inputs,
            output=config.output,
            tasks=product(grid),
            packings=_packings(region, problem, config),
            symbols=region.symbols,
            grid=grid,
            block=plan.threads,
            cluster=plan.cluster,
            shared_bytes=plan.shared_bytes,
            waits=target.has_dependent_launch,
        )


def _layouts(region: Region, problem: Problem) -> tuple[Layout, ...]:
    """What the epilogue reads lies like the output where it can."""
    shape, found = region.output.type.shape, []
    for number, type in enumerate(region.input_types):
        alike = type.rank == len(shape) and type.rank > 2 and type.shape[1] == shape[1] != 1
        is_operand = number in (problem.right, problem.bias)
        found.append(problem.layout if number == problem.left or (alike and not is_operand) else PLAIN)
    return tuple(found)


def _packings(region: Region, problem: Problem, config: AnyConfig) -> tuple[Packing | None, ...]:
    found: list[Packing | None] = [
        None if layout.is_plain or not is_constant(value) else pack_channels(layout.block, 1)
        for value, layout in zip(region.inputs, config.inputs, strict=True)
    ]
    found[problem.right] = pack_weights(problem)
    if problem.bias is not None:
        found[problem.bias] = pack_bias(problem)
    return tuple(found)


def _is_aligned(region: Region, inputs: tuple[Layout, ...], problem: Problem) -> bool:
    """Whether quads of columns are whole vectors in everything that the epilogue reads and writes."""
    epilogue = epilogue_of(region, inputs, problem.layout)
    lane = epilogue.variables[-1]
    loads = [n for n in walk(epilogue.flat.body) if isinstance(n, Load) and n.operand < len(region.inputs)]
    addresses: list[Dim] = [epilogue.flat.address, *(index for load in loads for index in load.index)]
    return all(
        coefficient % QUAD == 0 or monomial == (lane,)
        for address in addresses
        if isinstance(address, IntegerExpression) and depends(address, lane)
        for monomial, coefficient in address.terms
    )


TACTICS = (FragmentProduct(),)

"""Winograd convolution of kernels of 3 to 5 taps along each axis at stride 1, or about twice as many at stride 2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from functools import partial

from tensorwright.codegen.epilogue import epilogue_of
from tensorwright.codegen.ir import FUNCTION_ATTRIBUTES
from tensorwright.codegen.target import Target
from tensorwright.codegen.values import Pointer, Register
from tensorwright.graph.region import Region
from tensorwright.kernels.convolution.problem import OpenAxis, Problem, layouts, open_problem_of, packings, problem_of
from tensorwright.kernels.cpu.blocks import blocked_layout
from tensorwright.kernels.cpu.convolution.kernel import in_place_inputs
from tensorwright.kernels.cpu.convolution.packing import pack_bias
from tensorwright.kernels.cpu.function import argument_emitter, signature
from tensorwright.kernels.cpu.spatial.tile import input_memory
from tensorwright.kernels.cpu.winograd.fixed import FixedWinograd
from tensorwright.kernels.cpu.winograd.open import OpenWinograd
from tensorwright.kernels.cpu.winograd.packing import pack_winograd
from tensorwright.kernels.cpu.winograd.phases import STRIDE, apart, weights_apart
from tensorwright.kernels.cpu.winograd.tiles import most_taps
from tensorwright.kernels.cpu.winograd.tiling import (
    TILES,
    WinogradOptions,
    WinogradTiling,
    cost,
    winograd_tilings,
)
from tensorwright.kernels.numerics import FLOATS
from tensorwright.kernels.tactic import Array, Config, Kernel, Tactic
from tensorwright.kernels.work import Work, work
from tensorwright.tensor.dtype import INT64
from tensorwright.tensor.layout import PLAIN

FEWEST_TAPS = 3
"""Along an axis; a kernel of 2 taps saves little."""

MOST_APART = 4
"""Up to so many channels of row-major input are taken apart into phases."""

FEWEST_APART = 3
"""Of fewer positions that are as far apart as their taps, most read padding, which direct convolution leaves out."""

FEWEST_CHANNELS = 16
"""With fewer channels, the transforms cost more than the products save."""


ATTRIBUTES = f'{FUNCTION_ATTRIBUTES} "frame-pointer"="all"'
"""With a frame pointer the stack can be aligned, so that vectors of the transforms kept there lie in one cache line."""


class WinogradConvolution(Tactic[Target, WinogradOptions]):
    """Tiles of 4×4, 4×2 and 2×2 outputs: 4, 3 and 2.25 times fewer multiplications than direct convolution for 3×3
    kernels; 6.25, 4.2 and 2.8 times fewer for 5×5 kernels. Tiles of 5×5, 5×3 and 3×3 outputs for 4×4 kernels. Where
    one block has all tiles of an image, those that stick out of it take no more points than they need.

    At stride 2 the four phases of the input, of even or odd rows and columns, meet kernels of half as many taps and
    add up at every point: for 3×3 kernels 1.8, 1.6 and 1.4 times fewer multiplications. Few channels of row-major input
    are taken apart into phases instead: a 7×7 kernel then has 4×4 taps and takes 4.8, 3.8 and 3 times fewer.

    Positions of a dilated convolution that are as far apart as its taps are tiles of a convolution without dilation.

    Rounds differently: for normally distributed input and weights the largest error, relative to the largest output,
    is about 2e-5 at most with tiles of 4 or 5 (1e-5 for 3×3 kernels at stride 2); with tiles of 2 or 3, 2e-6 for 3×3
    and 1e-5 for larger kernels.
    """

    name = "winograd convolution"
    exact = False
    spreads = True

    def configs(self, region: Region, target: Target) -> Sequence[Config[WinogradOptions]]:
        problem, open_axes = _problem(region)
        if problem is None or problem.numerics.left not in FLOATS or problem.groups > 1 or problem.rank != 2:
            return ()
        if problem.outputs < FEWEST_CHANNELS:
            return ()
        blocked = blocked_layout(target)
        if _applies(problem):
            inputs, phases = layouts(region, problem, blocked, blocked), 1
        elif _applies_apart(problem):
            inputs, phases = layouts(region, problem, PLAIN, blocked), STRIDE
        else:
            return ()
        tilings = winograd_tilings(apart(problem) if phases > 1 else problem, phases, target, open_axes)
        return [Config(inputs, blocked, tiling.options) for tiling in tilings]

    def work(self, region: Region, config: Config[WinogradOptions], target: Target) -> Work:
        """Floating-point operations with the transforms and those that the wait for weights leaves undone."""
        tiling, direct = _tiling(region, config, target), work(region)
        weights = region.input_types[tiling.problem.weights].max_bytes
        operations = 2 * tiling.lanes * int(cost(tiling, target))
        return Work(tiling.problem.batch * operations, direct.bytes - weights)

    def emit(self, region: Region, config: Config[WinogradOptions], target: Target) -> Kernel:
        tiling, symbols = _tiling(region, config, target), region.symbols
        problem, _ = _problem(region)
        assert problem is not None
        emitter = argument_emitter(len(region.inputs), symbols, target)
        builder, operands = emitter.builder, emitter.operands
        epilogue = epilogue_of(region, config.inputs, config.output)
        prepare = partial(weights_apart, problem=problem) if tiling.apart > 1 else _as_they_are
        in_place = in_place_inputs(region, config, problem, epilogue)
        memory = input_memory(problem.axes, problem.channels, config.inputs[problem.x].block)
        kind = (
            partial(OpenWinograd, axes=tiling.open_axes) if tiling.open_axes else partial(FixedWinograd, memory=memory)
        )
        kind(
            tiling=tiling,
            emitter=emitter,
            epilogue=epilogue,
            output=Pointer("%out"),
            x=operands[problem.x],
            weights=operands[problem.weights],
            bias=None if problem.bias is None else operands[problem.bias],
            workspace=Pointer("%workspace"),
        ).run(Register("%begin", INT64), Register("%end", INT64))
        return Kernel(
            text=builder.module(signature(len(operands), len(symbols), in_place), ATTRIBUTES),
            inputs=config.inputs,
            output=config.output,
            tasks=tiling.tasks,
            packings=packings(region, problem, config, pack_winograd(tiling, prepare), pack_bias(tiling.lanes)),
            symbols=symbols,
            workspace=tiling.workspace,
            in_place=in_place,
        )


TACTICS = (WinogradConvolution(),)


def _tiling(region: Region, config: Config[WinogradOptions], target: Target) -> WinogradTiling:
    problem, open_axes = _problem(region)
    assert problem is not None
    phases = 1 if _applies(problem) else STRIDE
    problem = problem if phases == 1 else apart(problem)
    return WinogradTiling(problem, config.options, target.lanes(problem.numerics.total), phases, open_axes)


def _problem(region: Region) -> tuple[Problem | None, tuple[OpenAxis, OpenAxis] | None]:
    """The convolution, at its usual extents, and its axes if they are open or dilated."""
    found = open_problem_of(region)
    if found is not None:
        return found.usual, found.axes
    problem = problem_of(region)
    if problem is None or len(problem.axes) != 2 or all(axis.dilation == 1 for axis in problem.axes):
        return problem, None
    down, right = (OpenAxis(*astuple(axis)) for axis in problem.axes)
    return problem, (down, right)


def _as_they_are(weights: Array) -> Array:
    return weights


def _applies(problem: Problem) -> bool:
    """Whether the blocked input will do: strides are equal, and there are transforms for the taps of the phases."""
    strides = {axis.stride for axis in problem.axes}
    return (
        problem.channels >= FEWEST_CHANNELS
        and strides in ({1}, {STRIDE})
        and all(
            axis.kernel >= FEWEST_TAPS
            and (axis.dilation == 1 or (axis.stride == 1 and axis.output >= FEWEST_APART * axis.dilation))
            and most_taps(axis.kernel, axis.stride) in TILES
            for axis in problem.axes
        )
    )


def _applies_apart(problem: Problem) -> bool:
    """Whether all that is few channels at stride 2, and its kernel has several taps in every phase."""
    return problem.channels <= MOST_APART and all(
        axis.stride == STRIDE and axis.dilation == 1 and before.kernel >= FEWEST_TAPS and before.kernel in TILES
        for axis, before in zip(problem.axes, apart(problem).axes, strict=True)
    )

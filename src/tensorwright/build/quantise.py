"""Builds for integers of 8 bits: ranges from a calibrator, quantised products, an ordinary build of those."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import inf

from tensorwright.base.errors import BuildError
from tensorwright.base.text import unused_name
from tensorwright.build.build import build
from tensorwright.build.calibrate import Calibration, Calibrator, calibrate
from tensorwright.build.config import BuildConfig
from tensorwright.build.integers import Kept, Quantisable
from tensorwright.build.precision import wishes_of
from tensorwright.build.tools import toolchain_for
from tensorwright.graph.graph import Graph, Value
from tensorwright.ops.convolution import Convolution
from tensorwright.ops.matmul import MatMul
from tensorwright.passes.quantise import Quantised, nothing, quantised
from tensorwright.plan.plan import Plan
from tensorwright.tensor.dtype import INT8

SHOWN = 5
"""So many names are in a warning."""


def with_factors_as_outputs(graph: Graph) -> Graph:
    """The graph with the floating tensors that convolutions and products read as outputs, by names of their own."""
    outputs: dict[str, Value] = {}
    taken = {value for _, value in graph.inputs}
    for value in graph.order():
        for operand in value.inputs[:1] if isinstance(value.op, Convolution | MatMul) else ():
            if operand not in taken and operand.inputs and operand.type.dtype.is_float:
                taken.add(operand)
                outputs[unused_name(operand.name, outputs)] = operand
    return replace(graph, outputs=tuple(outputs.items()))


def build_quantised(
    graph: Graph,
    tensors: Mapping[str, Value],
    measured: Graph,
    calibrator: Calibrator | None,
    config: BuildConfig,
    given: Mapping[str, float] | None = None,
) -> Plan:
    """Compile a network with its products in integers, where ranges are known and that is faster; the report says the
    ranges. At level 0, where nothing is timed, all such products are.

    Where the target does not multiply integers faster, the ranges are measured and the products stay in float32.

    Args:
        graph: the network.
        tensors: its tensors of interest, by name.
        measured: the network for the batches of the calibrator, with these tensors as inputs and outputs.
        calibrator: gives batches, or a cache; None where all ranges are given.
        config: as for any build; products that are held to another type than int8 are not quantised.
        given: the largest magnitudes of tensors by name, which count before those that are measured.

    Raises:
        BuildError: there are no batches, or they do not fit; a given range is of no tensor or not a number above 0.
    """
    found = _ranges(tensors, measured, calibrator, config, given or {})
    ranges = {tensors[name]: found.range_of(name) for name in found.ranges if name in tensors}
    wishes = wishes_of(config.precision, config.layer_precision or {}, graph)

    def partly(kept: Kept) -> Quantised:
        return quantised(graph, ranges, kept=lambda value: wishes.held_type(value) is not None or kept(value))

    made, tools = partly(nothing), toolchain_for(config)
    is_used = INT8 in tools.fast_types
    _tell(made, config, "" if is_used else tools.target)
    quantisable = Quantisable(made.products, lambda kept: partly(kept).graph) if is_used else None
    plan = build(graph, config, quantisable=quantisable)
    return replace(plan, report={**plan.report, "calibration": found.report()})


def _tell(made: Quantised, config: BuildConfig, slow: str) -> None:
    """What stays in float32, and why. slow: the target if it multiplies integers no faster. Of ranges that are missing
    people hear there, too: they may be kept for other machines.
    """
    products = len(made.products) + len(made.missing)
    if slow and products:
        config.log("warning", f"int8 brings nothing on {slow}, which has no fast products of integers: not used")
    names = list(dict.fromkeys(value.inputs[0].name for value in made.missing))
    if names:
        shown = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
        stay = "" if slow else f"; {len(made.missing)} of {products} products stay in float32"
        config.log(
            "warning", f"int8: {len(names)} of {len(made.steps) + len(names)} tensors have no range: {shown}{stay}"
        )


def _ranges(
    tensors: Mapping[str, Value],
    measured: Graph,
    calibrator: Calibrator | None,
    config: BuildConfig,
    given: Mapping[str, float],
) -> Calibration:
    """The ranges of tensors: measured ones, and those that the user gives."""
    strange = sorted(set(given) - set(tensors))
    if strange:
        raise BuildError(
            f"dynamic ranges: the network has no tensor {', '.join(map(repr, strange[:SHOWN]))} that a range could be "
            f"of; it has {', '.join(map(repr, tensors))}"
        )
    for name, value in given.items():
        if isinstance(value, bool) or not 0 < value < inf:
            raise BuildError(f"dynamic range of '{name}': expected a finite number above 0, found {value!r}")
    if calibrator is None:
        missing = tuple(name for name in tensors if name not in given)
        return Calibration("DynamicRanges", dict(given), 0, missing)
    found = calibrate(measured, calibrator, replace(config, precision=(), layer_precision=None, dump=None))
    source = f"{found.batches} batches" if found.batches else "the calibration cache"
    config.log("info", f"calibration: ranges of {len(found.ranges)} tensors from {source} are in the plan's report")
    missing = tuple(name for name in found.missing if name not in given)
    lowest, highest = ({k: end for k, end in ends.items() if k not in given} for ends in (found.lowest, found.highest))
    return replace(found, ranges={**found.ranges, **given}, missing=missing, lowest=lowest, highest=highest)

"""Convolutions by cuDNN: which of its engines compute one, and running one of them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from contextlib import suppress
from ctypes import c_void_p
from dataclasses import replace

from tensorwright.base.errors import PlanError
from tensorwright.devices.cuda.libraries.convolution import MOST_KNOBS, Convolution
from tensorwright.devices.cuda.libraries.cudnn import Attribute, Cudnn, Descriptors, Kind
from tensorwright.devices.cuda.libraries.operations import Operations
from tensorwright.devices.cuda.libraries.shared import LibraryError
from tensorwright.tensor.dtype import FLOAT32

_BY_HEURISTIC = 3
"""Of `cudnnBackendHeurMode_t`: the library's best guess, in order."""
_TENSOR_CORES, _NARROWER_FACTORS, _OTHER_SUMS = 0, 1, frozenset((2, 3, 5, 6, 7, 8))
"""Of `cudnnBackendNumericalNote_t`; the last ones: narrower sums, Fourier's and Winograd's transforms, which all round
differently. Tensor cores read float32 as TF32, which is not told as narrower factors.
"""
_MOST_NOTES = 16
_SEEN_FOR_EACH = 4
"""So many proposals are looked at for each that is wanted."""


def engines(cudnn: Cudnn, convolution: Convolution, workspace: int, most: int) -> list[Convolution]:
    """The convolution with engines that the library proposes and that add up products in float32, the most promising
    first; none if it cannot do it.

    workspace: bytes that they may need; most: how many.
    """
    found: list[Convolution] = []
    with Descriptors(cudnn) as make:
        for config in _proposed(cudnn, convolution, make, _SEEN_FOR_EACH * most):
            with suppress(LibraryError):
                chosen = _chosen(cudnn, convolution, make, config)
                found += [chosen] if chosen is not None and chosen.workspace <= workspace else []
            if len(found) == most:
                break
    return found


class CudnnConvolution:
    """A convolution with an engine that the library has accepted.

    Raises:
        PlanError: it does not accept it, or needs more workspace than the convolution says.
    """

    def __init__(self, cudnn: Cudnn, convolution: Convolution, where: str) -> None:
        self._cudnn, self._convolution = cudnn, convolution
        self._name = f"a convolution of {convolution.channels} to {convolution.columns} channels"
        make = Descriptors(cudnn)
        weakref.finalize(self, make.close).atexit = False
        try:
            self._plan, needed = _planned(cudnn, convolution, make)
        except LibraryError as error:
            raise PlanError(f"{where}: the engine of {self._name} is not to be had: {error}; build it again") from error
        if needed > convolution.workspace:
            raise PlanError(
                f"{where}: {self._name} needs {needed} bytes of workspace with {cudnn.title} {cudnn.version}, expected "
                f"at most {convolution.workspace}; build it again"
            )

    def run(self, addresses: Sequence[int], workspace: int, stream: int) -> None:
        """Put the convolution into a stream.

        Raises:
            LibraryError: the library refuses it.
        """
        operands = sorted(self._convolution.extents)
        with Descriptors(self._cudnn) as make:
            places = make.made(
                Kind.VARIANT_PACK,
                {
                    Attribute.PACK_NUMBERS: operands,
                    Attribute.PACK_ADDRESSES: [addresses[operand] for operand in operands],
                    Attribute.PACK_WORKSPACE: [workspace],
                },
            )
            self._cudnn.execute(f"computing {self._name}", self._plan, places, stream)


def _proposed(cudnn: Cudnn, convolution: Convolution, make: Descriptors, most: int) -> list[c_void_p]:
    """Configurations of engines, by the library's heuristic."""
    with suppress(LibraryError):
        graph = _graph(cudnn, convolution, make)
        asked = make.made(
            Kind.HEURISTICS, {Attribute.HEURISTICS_GRAPH: [graph], Attribute.HEURISTICS_MODE: [_BY_HEURISTIC]}
        )
        return make.filled(asked, Attribute.HEURISTICS_RESULTS, Kind.ENGINE_CONFIG, most)
    return []


def _chosen(cudnn: Cudnn, convolution: Convolution, make: Descriptors, config: c_void_p) -> Convolution | None:
    """The convolution with what a configuration says; None for one that computes something else.

    Raises:
        LibraryError: the library proposes it, but does not have it.
    """
    (engine,) = make.filled(config, Attribute.CONFIG_ENGINE, Kind.ENGINE, 1)
    if _rounds_differently(convolution, frozenset(make.numbers(engine, Attribute.ENGINE_NOTES, _MOST_NOTES))):
        return None
    knobs = [
        (make.number(knob, Attribute.KNOB_KIND), make.number(knob, Attribute.KNOB_VALUE))
        for knob in make.filled(config, Attribute.CONFIG_KNOBS, Kind.KNOB_CHOICE, MOST_KNOBS)
    ]
    number = make.number(engine, Attribute.ENGINE_NUMBER)
    chosen = replace(convolution, engine=number, knobs=tuple(sorted(knobs)))
    with Descriptors(cudnn) as own:
        _, workspace = _planned(cudnn, chosen, own)
    return replace(chosen, workspace=workspace)


def _rounds_differently(convolution: Convolution, notes: frozenset[int]) -> bool:
    """Whether an engine with such notes computes something else than sums in float32 of the factors as they are."""
    narrow = {_NARROWER_FACTORS, _TENSOR_CORES} if convolution.dtype == FLOAT32 else {_NARROWER_FACTORS}
    return bool(notes & _OTHER_SUMS) or (not convolution.tf32 and bool(notes & narrow))


def _planned(cudnn: Cudnn, convolution: Convolution, make: Descriptors) -> tuple[c_void_p, int]:
    """What runs a convolution by its engine, and the bytes of workspace that it needs."""
    graph = _graph(cudnn, convolution, make)
    engine = make.made(Kind.ENGINE, {Attribute.ENGINE_GRAPH: [graph], Attribute.ENGINE_NUMBER: [convolution.engine]})
    knobs = [
        make.made(Kind.KNOB_CHOICE, {Attribute.KNOB_KIND: [kind], Attribute.KNOB_VALUE: [value]})
        for kind, value in convolution.knobs
    ]
    settings = {Attribute.CONFIG_ENGINE: [engine], **({Attribute.CONFIG_KNOBS: knobs} if knobs else {})}
    config = make.made(Kind.ENGINE_CONFIG, settings)
    plan = make.made(Kind.PLAN, {Attribute.PLAN_HANDLE: [cudnn.handle], Attribute.PLAN_CONFIG: [config]})
    return plan, make.number(plan, Attribute.PLAN_WORKSPACE)


def _graph(cudnn: Cudnn, convolution: Convolution, make: Descriptors) -> c_void_p:
    operations = Operations(convolution, make).all()
    return make.made(Kind.GRAPH, {Attribute.GRAPH_HANDLE: [cudnn.handle], Attribute.GRAPH_OPERATIONS: operations})

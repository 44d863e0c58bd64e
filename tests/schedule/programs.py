"""Programs of small graphs, lowered as a build of level 0 does."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.backends.cpu import CpuBackend
from tensorwright.graph.graph import Graph
from tensorwright.passes.fuse import partition
from tensorwright.passes.outputs import separate_outputs
from tensorwright.schedule.cpu.arrange import arrange_for
from tensorwright.schedule.lower import lower
from tensorwright.schedule.program import Program, Step
from tensorwright.tune.choice import Choice
from tensorwright.tune.search import Limits, Search
from tensorwright.tune.select import Searched, select

TOOLS = CpuBackend().toolchain(None, 2, None)
TARGET = TOOLS.machine


def choices_of(
    graph: Graph, *, fuse: bool = True, threads: int = 2, blocked: bool = False
) -> tuple[Graph, list[Choice]]:
    """The graph with outputs of their own memory, and a kernel for every region, in order.

    blocked: whether every region that can gives its result in the blocked layout.
    """
    graph = separate_outputs(graph)
    search = Search(TOOLS.offers, TOOLS.roofline, Limits(None, threads))
    searched = search.all(partition(graph, fuse=fuse))
    if blocked:
        searched = [_in_blocks(each) for each in searched]
    return graph, list(select(graph, searched, search))


def _in_blocks(searched: Searched) -> Searched:
    found = [candidate for candidate in searched.candidates if not candidate.trial.config.output.is_plain]
    return replace(searched, candidates=tuple(found)) if found else searched


def program_of(graph: Graph, *, fuse: bool = True, threads: int = 2, blocked: bool = False) -> Program:
    return lower(*choices_of(graph, fuse=fuse, threads=threads, blocked=blocked), arrange_for(threads))


def step_of(program: Program, name: str) -> Step:
    """The step that computes the value of a name."""
    (found,) = (step for step in program.steps if step.choice.region.output.name == name)
    return found

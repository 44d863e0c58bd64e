"""Programs of small graphs, lowered as a build of level 0 does."""

from __future__ import annotations

from dataclasses import replace

from tensorwright.codegen.cpu.targets import TARGETS
from tensorwright.devices.cpu.host import best_instruction_set
from tensorwright.graph.graph import Graph
from tensorwright.passes.fuse import partition
from tensorwright.passes.outputs import separate_outputs
from tensorwright.schedule.lower import lower
from tensorwright.schedule.program import Program, Step
from tensorwright.tune.choice import Choice
from tensorwright.tune.search import Limits, reorder_choice, search
from tensorwright.tune.select import Searched, select

TARGET = TARGETS[best_instruction_set()]


def choices_of(
    graph: Graph, *, fuse: bool = True, threads: int = 2, blocked: bool = False
) -> tuple[Graph, list[Choice]]:
    """The graph with outputs of their own memory, and a kernel for every region, in order.

    blocked: whether every region that can gives its result in the blocked layout.
    """
    graph = separate_outputs(graph)
    searched = search(partition(graph, fuse=fuse), TARGET, Limits(None, threads))
    if blocked:
        searched = [_in_blocks(each) for each in searched]
    return graph, list(select(graph, searched, lambda region, a, b: reorder_choice(region, a, b, TARGET)))


def _in_blocks(searched: Searched) -> Searched:
    found = [candidate for candidate in searched.candidates if not candidate.trial.config.output.is_plain]
    return replace(searched, candidates=tuple(found)) if found else searched


def program_of(graph: Graph, *, fuse: bool = True, threads: int = 2, blocked: bool = False) -> Program:
    return lower(*choices_of(graph, fuse=fuse, threads=threads, blocked=blocked), threads)


def step_of(program: Program, name: str) -> Step:
    """The step that computes the value of a name."""
    (found,) = (step for step in program.steps if step.choice.region.output.name == name)
    return found

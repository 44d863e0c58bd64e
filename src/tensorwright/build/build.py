"""Graph to plan: every stage in order."""

from __future__ import annotations

import os

from tensorwright.build.assemble import assemble
from tensorwright.build.config import BuildConfig
from tensorwright.build.report import build_report
from tensorwright.codegen.compile import host_target_name
from tensorwright.codegen.target import target_named
from tensorwright.graph.graph import Graph
from tensorwright.passes.fuse import partition
from tensorwright.passes.outputs import separate_outputs
from tensorwright.passes.pipeline import optimise
from tensorwright.plan.plan import Plan
from tensorwright.plan.stamp import host_stamp
from tensorwright.schedule.lower import lower
from tensorwright.tune.search import Limits, reorder_choice, untimed
from tensorwright.tune.select import select


def build(graph: Graph, config: BuildConfig | None = None) -> Plan:
    """Compile a network for this machine.

    Raises:
        WorkspaceError: no kernel of some layer fits the workspace limit.
        BuildError: the options or the machine do not allow the build.
    """
    config = config or BuildConfig()
    target = target_named(config.instruction_set or host_target_name())
    threads = config.threads or len(os.sched_getaffinity(0))
    limits = Limits(config.max_workspace_size, threads)
    symbols = graph.symbols()
    graph = separate_outputs(optimise(graph) if config.optimise else graph)
    regions = partition(graph, fuse=config.optimise)
    searched = [untimed(region, target, limits) for region in regions]
    choices = select(graph, searched, lambda region, a, b: reorder_choice(region, a, b, target))
    program = lower(graph, choices)
    return assemble(
        graph.name,
        program,
        symbols,
        target,
        host_stamp(target.name),
        threads,
        build_report(graph, program, target, threads),
        batch_symbol=config.batch_symbol,
    )

"""Graph to plan: every stage in order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tensorwright.build.assemble import assemble
from tensorwright.build.config import BuildConfig
from tensorwright.build.report import build_report
from tensorwright.codegen.cpu.compile import host_target_name
from tensorwright.codegen.cpu.pool import CompilerPool
from tensorwright.codegen.cpu.targets import target_named
from tensorwright.graph.graph import Graph, is_constant
from tensorwright.passes.fuse import partition
from tensorwright.passes.join import joins
from tensorwright.passes.outputs import named_apart, separate_outputs
from tensorwright.passes.pipeline import optimise
from tensorwright.plan.plan import Plan
from tensorwright.plan.stamp import host_stamp
from tensorwright.schedule.lower import lower
from tensorwright.tune.cache import TimingCache, default_path
from tensorwright.tune.join import prefer_joined
from tensorwright.tune.machine import remember_machine, remembered_machine
from tensorwright.tune.search import Limits, reorder_choice, search, search_joined
from tensorwright.tune.select import select
from tensorwright.tune.tuner import Tuner

TIMINGS_KEPT = "timings kept"
"""The note on what ended a build early: the next one goes on from what this one measured."""


def build(graph: Graph, config: BuildConfig | None = None) -> Plan:
    """Compile a network for this machine.

    Raises:
        WorkspaceError: no kernel of some layer fits the workspace limit.
        BuildError: the options or the machine do not allow the build.
    """
    config = config or BuildConfig()
    target = target_named(config.instruction_set or host_target_name())
    stamp = host_stamp(target.name)
    threads = config.threads or len(os.sched_getaffinity(0))
    limits = Limits(config.max_workspace_size, threads, config.fast_algorithms, config.exclude_tactics)
    symbols = graph.symbols()
    graph = _with_own_names(graph, config)
    graph = separate_outputs(optimise(graph) if config.optimise else graph)
    regions = partition(graph, fuse=config.optimise)
    cache = TimingCache(_cache_path(config), lambda message: config.log("warning", message))
    with CompilerPool(target, os.cpu_count() or 1) as pool, _kept(cache, config):
        searched = search(regions, target, limits)
        if config.level > 0:
            weights = sum(v.type.max_bytes for v in graph.order() if is_constant(v))
            tuner = Tuner(pool, target, stamp, cache, threads, config.level, config.progress, weights, config.allocator)
            joined = search_joined(joins(graph, regions), target, limits) if config.optimise else []
            known = len(cache.entries)
            tuned = tuner.tune([*searched, *joined])
            searched = prefer_joined(tuned[: len(searched)], tuned[len(searched) :], tuner.compare)
            if len(cache.entries) > known or remembered_machine(cache, stamp, target, threads) is None:
                remember_machine(cache, stamp, target, threads)
            cache.save()
        machine = remembered_machine(cache, stamp, target, threads)
        choices = select(graph, searched, lambda region, a, b: reorder_choice(region, a, b, target))
        for choice in choices:
            pool.submit(choice.kernel.name, choice.kernel.code)
        program = lower(graph, choices, threads)
        config.progress.phase("compiling the network", len(program.steps))
        pool.compile_all({step.kernel.name: step.kernel.code for step in program.steps}, config.progress.step)
        plan = assemble(
            graph.name,
            program,
            symbols,
            target,
            stamp,
            threads,
            build_report(graph, program, target, threads, machine, config.fast_algorithms),
            batch_symbol=config.batch_symbol,
            compile_kernel=lambda kernel, _: pool.compile(kernel.name, kernel.code),
        )
    config.progress.done()
    return plan


def _with_own_names(graph: Graph, config: BuildConfig) -> Graph:
    renamed = named_apart(graph)
    for (before, _), (after, _) in zip(graph.outputs, renamed.outputs, strict=True):
        if before != after:
            config.log("warning", f"output '{before}' has the name of an input: the engine calls it '{after}'")
    return renamed


@contextmanager
def _kept(cache: TimingCache, config: BuildConfig) -> Iterator[None]:
    """Save what was measured when the build ends early, and tell that with the reason."""
    try:
        yield
    except BaseException as reason:
        if cache.save():
            reason.add_note(TIMINGS_KEPT)
            config.log("info", f"the build ended early; {TIMINGS_KEPT}")
        raise


def _cache_path(config: BuildConfig) -> Path | None:
    if config.timing_cache is None:
        return default_path()
    return Path(config.timing_cache) if str(config.timing_cache) else None

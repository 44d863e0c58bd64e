"""Graph to plan: every stage in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import time

from tensorwright.backends.backend import Backend, Toolchain
from tensorwright.base.cancellation import WatchedProgress
from tensorwright.base.errors import BuildError
from tensorwright.base.progress import Progress
from tensorwright.build.assemble import assemble, bindings_of, finished, together
from tensorwright.build.caches import shared_caches, with_caches
from tensorwright.build.config import BuildConfig
from tensorwright.build.dump import Dump, dump_into
from tensorwright.build.indices import Uses, watched
from tensorwright.build.integers import Kept, Measurement, Quantisable, kept_in_floats
from tensorwright.build.limits import require_memory, require_small
from tensorwright.build.precision import BoundsFor, Measure, Wishes, in_chosen_types, wishes_of
from tensorwright.build.profiles import Profile, hull, profiles_of, replacing
from tensorwright.build.ranges import narrowed
from tensorwright.build.report import build_report
from tensorwright.build.sizes import require_tensors, within_memory
from tensorwright.build.tools import toolchain_for
from tensorwright.graph.graph import Graph, Value, is_constant
from tensorwright.graph.region import Region
from tensorwright.graph.substitute import with_dims
from tensorwright.kernels.compiler import Compiler
from tensorwright.passes.change import Limit
from tensorwright.passes.check import Comparison
from tensorwright.passes.dequantise import quantised_products, with_products_in_floats
from tensorwright.passes.empty import replace_empty
from tensorwright.passes.fuse import partition
from tensorwright.passes.join import joins, runs
from tensorwright.passes.outputs import named_apart, separate_outputs
from tensorwright.passes.padding import normalises_padding
from tensorwright.passes.patterns import in_patterns
from tensorwright.passes.pieces import in_groups
from tensorwright.passes.pipeline import optimise
from tensorwright.passes.recurrent import unrolled
from tensorwright.passes.streams import residual_streams
from tensorwright.plan.manifest import require_possible
from tensorwright.plan.plan import Plan
from tensorwright.schedule.pool import pooled
from tensorwright.schedule.program import Program
from tensorwright.tensor.dtype import INT8
from tensorwright.tune.cache import TimingCache, default_path
from tensorwright.tune.choice import Choice
from tensorwright.tune.join import prefer_joined
from tensorwright.tune.machine import remember_machine, remembered_machine, was_measured_lately
from tensorwright.tune.search import Limits, Search
from tensorwright.tune.select import Searched, select
from tensorwright.tune.tuner import Bounds, Tuner
from tensorwright.tune.verify import Verifier

LARGEST_RACED = 1 << 30
"""Quantised models whose weights take more bytes in float32 stay in integers: timing would hold them in both forms."""
HARDEST = 5
"""At this level everything is timed, also to decide about types."""
TIMINGS_KEPT = "timings kept"
"""The note on what ended a build early: the next one goes on from what this one measured."""


@within_memory
def build(
    graph: Graph,
    config: BuildConfig | None = None,
    backend: Backend | None = None,
    quantisable: Quantisable | None = None,
    timings: TimingCache | None = None,
) -> Plan:
    """Compile a network for this machine.

    backend: what to compile with; None for the one that the config names. quantisable: the same network, of which
        products may be computed in integers, where that is faster. timings: those of builds that belong together; None
        for what the config names.

    Raises:
        WorkspaceError: no kernel of some layer fits the workspace limit.
        BuildError: the options or the machine do not allow the build.
    """
    config = config or BuildConfig()
    progress = WatchedProgress(config.progress, config.cancellation, config.max_seconds)
    config = replace(config, progress=progress)
    require_small(graph, config)
    progress.check()
    tools = toolchain_for(config, backend)
    _require_bench(tools, config)
    graph = narrowed(_with_own_names(graph, config))
    limits = Limits(
        config.max_workspace_size,
        tools.threads,
        config.fast_algorithms and not normalises_padding(graph),
        frozenset(config.exclude_tactics),
        config.strict_nans,
        config.tf32,
    )
    search = Search(tools.offers, tools.roofline, limits)
    if config.caches_in_place:
        if quantisable is not None:
            raise BuildError("caches_in_place goes with no ranges of tensors for int8: leave one of them out")
        graph = with_caches(graph)
    profiles = profiles_of(graph, config.profiles, config.batch_symbol)
    whole = with_dims(graph, replacing(graph.symbols(), hull(profiles)))
    require_possible(hull(profiles), bindings_of(whole), tools.threads)
    require_tensors(whole, config.level > 0)
    wishes = wishes_of(config.precision, config.layer_precision or {}, graph)
    cache = timings_for(config) if timings is None else timings
    with tools.compiler() as compiler, _kept(cache, config):
        work = _Build(config, tools, search, compiler, cache, wishes, progress)
        dumps = _dumps(config, len(profiles))
        parts = [
            work.programmed(profile.of(graph), _quantisable_of(quantisable, profile), dump)
            for profile, dump in zip(profiles, dumps, strict=True)
        ]
        pool = pooled([part.program for part in parts])
        plans = [
            work.assembled(replace(part, program=program), profile, dump)
            for part, program, profile, dump in zip(parts, pool, profiles, dumps, strict=True)
        ]
    config.progress.done()
    return finished(plans[0] if not config.profiles else together(plans, hull(profiles), bindings_of(whole)))


@dataclass(frozen=True)
class _Part:
    """A network for one profile as a program. uses: of the indices whose ranges it keeps."""

    graph: Graph
    program: Program
    uses: Uses


@dataclass(frozen=True)
class _Build:
    """What the builds for all profiles of a network share."""

    config: BuildConfig
    tools: Toolchain
    search: Search
    compiler: Compiler
    cache: TimingCache
    wishes: Wishes
    progress: WatchedProgress

    def programmed(self, graph: Graph, quantisable: Quantisable | None, dump: Dump) -> _Part:
        """Rewrite a network, choose kernels for it, compile them, and lay out its memory."""
        config, tools, search, compiler = self.config, self.tools, self.search, self.compiler
        dump.imported(graph)
        quantisable = quantisable or _quantisable(graph, self.wishes, config, tools)
        if quantisable is not None:
            graph = _quantised(
                quantisable,
                self.wishes,
                config,
                tools,
                self._measure,
                lambda graph: self._rewritten(graph, Dump(None)),
            )
        graph = self._rewritten(graph, dump)
        graph = in_groups(_in_chosen_types(graph, self.wishes, config, tools, self._measure))
        graph = separate_outputs(replace_empty(graph))
        graph, uses = watched(graph, partition(graph, fuse=config.optimise), config.check_indices, tools.roofline)
        regions, chains = _regions(graph, config, tools)
        dump.regions(graph, regions, chains)
        searched = _searched(regions, chains, tools, search, self._tuner(graph), config)
        verifier = Verifier(compiler, tools.bench, config.log)
        while True:
            choices = select(graph, searched, search)
            for choice in choices:
                compiler.submit(choice.kernel.name, choice.kernel.code)
            program = tools.lower(graph, choices)
            require_memory(program, tools.threads, config)
            dropped = verifier.dropped
            _compile(choices, compiler, verifier, config.progress)
            if verifier.dropped == dropped:
                break
            searched, search = verifier.without_dropped(searched), replace(search, dropped=verifier.dropped)
        dump.chosen(choices)
        return _Part(graph, program, uses)

    def assembled(self, part: _Part, profile: Profile, dump: Dump) -> Plan:
        """The plan of a program that has its place for its constants."""
        config, tools, program = self.config, self.tools, part.program
        dump.scheduled(program, tools)
        if config.checks_plan:
            tools.check(program, profile.symbols, self.compiler)
        machine = remembered_machine(self.cache, tools.stamp, tools.bench.capacities, tools.threads)
        caches = shared_caches(part.graph) if config.caches_in_place else {}
        report = build_report(part.graph, program, tools, machine, self.search.limits.fast_algorithms, caches)
        executable = tools.executable(program, profile.symbols, self.compiler)
        return assemble(
            part.graph.name, program, profile.symbols, tools, executable, report, config.batch_symbol, part.uses
        )

    def _rewritten(self, graph: Graph, dump: Dump) -> Graph:
        ready = unrolled(replace_empty(graph), self.search.computes)
        return _rewritten(ready, self.config, self.tools, dump, self.progress)

    def _measure(self, graph: Graph, bounds: BoundsFor | None = None) -> list[Searched]:
        graph = separate_outputs(replace_empty(graph))
        regions, chains = _regions(graph, self.config, self.tools)
        quick = replace(self._tuner(graph), brief=self.config.level < HARDEST)
        return _searched(regions, chains, self.tools, self.search, quick, self.config, bounds)

    def _tuner(self, graph: Graph) -> Tuner:
        return _tuner(graph, self.tools, self.compiler, self.cache, self.config)


def _quantisable_of(quantisable: Quantisable | None, profile: Profile) -> Quantisable | None:
    if quantisable is None:
        return None
    made = quantisable.quantised
    return replace(quantisable, quantised=lambda kept: profile.of(made(kept)))


def _dumps(config: BuildConfig, profiles: int) -> list[Dump]:
    """Where the build of each profile is written."""
    folder = None if config.dump is None else Path(config.dump)
    if profiles == 1 or folder is None:
        return [dump_into(folder, config.dump_code)] * profiles
    return [dump_into(folder / f"profile-{number}", config.dump_code) for number in range(profiles)]


def _require_bench(tools: Toolchain, config: BuildConfig) -> None:
    if config.level > 0 and not tools.bench.is_here:
        lacking = f", which lacks {tools.bench.lacking}" if tools.bench.lacking else ""
        raise BuildError(
            f"level {config.level} times kernels, and those for '{tools.target}' cannot run on this machine{lacking}; "
            "build at level 0, or on a machine that has it"
        )


def _compile(choices: Sequence[Choice], compiler: Compiler, verifier: Verifier, progress: Progress) -> None:
    """Compile all kernels; each is looked at as soon as it is compiled, while others are."""
    by_name: dict[str, list[Choice]] = {}
    for choice in choices:
        by_name.setdefault(choice.kernel.name, []).append(choice)

    def done(name: str) -> None:
        progress.step(name)
        for choice in by_name[name]:
            verifier.check(choice)

    progress.phase("compiling the network", len(by_name))
    compiler.compile_all({choice.kernel.name: choice.kernel.code for choice in choices}, done)
    for choice in choices:
        verifier.check(choice)


def _regions(graph: Graph, config: BuildConfig, tools: Toolchain) -> tuple[Sequence[Region], Sequence[Region]]:
    """The regions of a network, and chains and runs of them that one kernel may compute."""
    regions = in_patterns(partition(graph, fuse=config.optimise))
    return regions, (*joins(graph, regions), *runs(graph, regions, tools.is_small)) if config.optimise else ()


def _quantisable(graph: Graph, wishes: Wishes, config: BuildConfig, tools: Toolchain) -> Quantisable | None:
    """A quantised network whose products are integers where that is faster; None where nothing is timed, or all are."""
    products = quantised_products(graph) if config.level > 0 and INT8 in tools.fast_types and config.optimise else ()
    size = sum(value.inputs[1].type.max_bytes for value in products)
    if not products or size > LARGEST_RACED:
        return None

    def is_free(value: Value) -> bool:
        return wishes.held_type(value) is None

    def partly(kept: Kept) -> Graph:
        return with_products_in_floats(graph, lambda value: not is_free(value) or kept(value))

    return Quantisable(tuple(filter(is_free, products)), partly)


def _quantised(
    quantisable: Quantisable,
    wishes: Wishes,
    config: BuildConfig,
    tools: Toolchain,
    measure: Measure,
    rewritten: Callable[[Graph], Graph],
) -> Graph:
    """The network with its products in integers; where kernels are timed, those that are faster so."""

    def partly(kept: frozenset[str]) -> Graph:
        return named_apart(quantisable.quantised(lambda product: product.name in kept))

    whole, plain = partly(frozenset()), partly(frozenset(product.name for product in quantisable.products))
    if config.level == 0:
        return whole
    measurement = Measurement(wishes, measure, lambda kept: rewritten(partly(kept)), tools.roofline)
    kept = kept_in_floats(rewritten(plain), rewritten(whole), quantisable.products, measurement)
    count = sum(product.name in kept for product in quantisable.products)
    if count:
        config.log("info", f"int8: {count} of {len(quantisable.products)} products are faster without it")
    return partly(kept) if count < len(quantisable.products) else plain


def _in_chosen_types(graph: Graph, wishes: Wishes, config: BuildConfig, tools: Toolchain, measure: Measure) -> Graph:
    """The network with parts in the narrower types that the user permits, where they are faster."""
    if len(wishes.types) == 1:
        return graph
    measured = measure if config.level > 0 else None
    kept = residual_streams(graph) if tools.keeps_streams else frozenset()
    graph = in_chosen_types(graph, wishes, tools.fast_types, kept, measured, tools.roofline, config.log)
    return optimise(graph, further=tools.passes) if config.optimise else graph


def _searched(
    regions: Sequence[Region],
    chains: Sequence[Region],
    tools: Toolchain,
    search: Search,
    tuner: Tuner,
    config: BuildConfig,
    bounds: BoundsFor | None = None,
) -> list[Searched]:
    """The regions of a network with all usable kernels, timed if that is wanted, joined ones where they are faster."""
    searched = search.all(regions)
    if config.level > 0:
        most = {} if bounds is None else {key: tools.threads * bound for key, bound in bounds(searched).items()}
        return _tuned(searched, search.joined(chains), tuner, most)
    if tools.joins_untimed:
        return prefer_joined(searched, search.joined(chains), untimed=True)
    return searched


def _tuner(graph: Graph, tools: Toolchain, compiler: Compiler, cache: TimingCache, config: BuildConfig) -> Tuner:
    weights = sum(v.type.max_bytes for v in graph.order() if is_constant(v))
    return Tuner(
        compiler, tools.bench, tools.stamp, cache, tools.threads, config.level, config.progress, weights, config.log
    )


def _tuned(searched: list[Searched], joined: list[Searched], tuner: Tuner, bounds: Bounds) -> list[Searched]:
    """The regions of a network with measured kernels, joined ones where they are faster.

    bounds: as for the tuner; what is joined of regions without a timed kernel is not timed, either.
    """
    cache, known = tuner.cache, len(tuner.cache.entries)
    hopeless = {item.region for item in searched if _is_hopeless(item, bounds)}
    joined = [item for item in joined if not hopeless.intersection(item.region.stages)]
    tuned = tuner.tune([*searched, *joined], bounds)
    comparison = None if tuner.brief else tuner.compare
    found = prefer_joined(tuned[: len(searched)], tuned[len(searched) :], comparison)
    stamp, threads, bench = tuner.stamp, tuner.threads, tuner.bench
    is_due = len(cache.entries) > known and not was_measured_lately(cache, stamp, threads, time())
    if is_due or remembered_machine(cache, stamp, bench.capacities, threads) is None:
        remember_machine(cache, stamp, bench.machine(), threads, time())
    cache.save()
    return found


def _is_hopeless(item: Searched, bounds: Bounds) -> bool:
    bound = bounds.get(item.region.signature, inf)
    return all(candidate.trial.estimate > bound for candidate in item.candidates)


def _rewritten(graph: Graph, config: BuildConfig, tools: Toolchain, dump: Dump, progress: WatchedProgress) -> Graph:
    if not config.optimise:
        return graph
    observers = (dump.changed, lambda _: progress.check(), *((Comparison(),) if config.check_rewrites else ()))
    limit = Limit(config.stop_after, config.max_rewrites)
    return optimise(graph, first=tools.first_passes, further=tools.passes, limit=limit, observers=observers)


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


def timings_for(config: BuildConfig) -> TimingCache:
    """What earlier builds measured, in the file that the configuration names."""
    return TimingCache(_cache_path(config), lambda message: config.log("warning", message))


def _cache_path(config: BuildConfig) -> Path | None:
    if config.timing_cache is None:
        return default_path()
    return Path(config.timing_cache) if str(config.timing_cache) else None

"""Every tactic of every device computes every example that it applies to, with every config, on every target.

All configs are tried with `--kernels` (`make test-kernels`), one of 64 parts of them with `--kernels 3/64`, else a
sample: see `_choices`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache
from itertools import product
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from regions.checking import Trial, applicable
from regions.collection import EXAMPLES
from regions.example import Example
from regions.rigs import CpuRig, CudaRig, NullRig, Rig
from regions.sampling import Choose, Part, Rotation, Seldom, every, key_of, lacking
from targets import EMULATED_SINGLE
from tensorwright.kernels.tactic import AnyConfig, AnyTactic
from tensorwright.kernels.work import work
from tensorwright.tensor.dim import upper_bound

RIGS: Mapping[str, Rig[Any]] = {rig.name: rig for rig in (CpuRig(), NullRig(), CudaRig())}
SELDOM = 16
"""One of so many examples is tried on targets that no device here has."""
ONE_OF = 6
"""One of so many tactics for examples is tried on the main target."""
RARELY = 24
"""One of so many is tried of kernels that differ from others in the digits of their factors alone, and of slow ones."""
SLOW_FLOPS = 4e6
"""Of examples on GPUs."""


@pytest.mark.parametrize("rig_name", RIGS)
def test_every_kind_of_config_equals_the_reference(
    rig_name: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    """Layouts and options that the sample below lacks on the main target."""
    if request.config.getoption("--kernels"):
        pytest.skip("all configs are tried")
    rig, seed = RIGS[rig_name], request.config.getoption("--seed")
    keyed = {key_of(e, tactic, rig.main): (e, tactic, configs) for e, tactic, configs in _by_work(rig_name, seed)}
    chosen = lacking(_main_choice(rig_name, seed), [(key, *offered[1:]) for key, offered in keyed.items()])
    for example in {keyed[key][0].name: keyed[key][0] for key in chosen}.values():
        Trial(example, rig, rng).check(rig.main, lambda key, configs: [configs[n] for n in chosen.get(key, ())])


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("rig_name", RIGS)
def test_equals_the_reference(
    rig_name: str, name: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    rig = RIGS[rig_name]
    trial = Trial(EXAMPLES[name], rig, rng)
    part = request.config.getoption("--kernels")
    if part:
        choices = _choices_of(Part.parse(part), rig_name, name)
    else:
        choices = _choices(rig_name, name, request.config.getoption("--seed"))
    for target, choose in choices.items():
        if part or rig.fits(trial.region, target):
            trial.check(target, choose, rig.plain if target in rig.further and not part else "")


def test_every_text_belongs_to_one_part() -> None:
    parts = [Part.parse(f"{number}/7") for number in range(1, 8)]
    assert all([part.has(name) for part in parts].count(True) == 1 for name in EXAMPLES)


def _choices_of(part: Part, rig_name: str, name: str) -> Mapping[str, Choose]:
    """Everything, on the targets for which the example belongs to a part."""
    return {target: every for target in RIGS[rig_name].targets if part.has(f"{rig_name} {name} {target}")}


def _choices(rig_name: str, name: str, seed: int) -> Mapping[str, Choose]:
    """By target: for every sixth pair of a tactic and an example one config on the main one, and on those with further
    instructions if it uses them, but rarely where these are slow; on each of the others that run here for every eighth
    example; on the rest for some examples only.
    """
    rig, one = RIGS[rig_name], Rotation(1, seed)
    turn = crc32(f"{seed} {name}".encode()) % SELDOM
    others = [target for target in rig.targets if target not in (rig.main, *rig.native, *rig.further)]
    seldom = {target: one for number, target in enumerate(others) if number % SELDOM == turn}
    in_turn = rig.native[turn % (SELDOM // 2) :][:1]
    is_slow = rig.plain in EMULATED_SINGLE
    further = dict.fromkeys(rig.further, Seldom(one, RARELY, frozenset(), RARELY) if is_slow else one)
    return {rig.main: _main_choice(rig_name, seed), **dict.fromkeys(in_turn, one), **further, **seldom}


@cache
def _main_choice(rig_name: str, seed: int) -> Choose:
    rounding = {tactic.name for tactic in RIGS[rig_name].tactics if tactic.rounding}
    slow = _slow_examples(seed) if rig_name == CudaRig.name else set()
    return Seldom(Rotation(1, seed), ONE_OF, frozenset(rounding | slow), RARELY)


def _slow_examples(seed: int) -> set[str]:
    """What a machine written in Python takes seconds for."""
    return {name for name, flops in _flops(seed).items() if flops > SLOW_FLOPS}


@cache
def _flops(seed: int) -> dict[str, int]:
    regions = {name: example.region(np.random.default_rng(seed)) for name, example in EXAMPLES.items()}
    return {name: upper_bound(work(region).flops) for name, region in regions.items()}


def _by_work(rig_name: str, seed: int) -> list[tuple[Example, AnyTactic[Any], Sequence[AnyConfig]]]:
    """Every config on the main target, of small examples first."""
    flops = _flops(seed)
    return sorted(_offered_on_main(rig_name, seed), key=lambda offered: flops[offered[0].name])


@cache
def _offered_on_main(rig_name: str, seed: int) -> Sequence[tuple[Example, AnyTactic[Any], Sequence[AnyConfig]]]:
    """Every config on the main target."""
    rig = RIGS[rig_name]
    return [
        (example, tactic, configs)
        for example in EXAMPLES.values()
        for tactic, configs in applicable(rig, example.region(np.random.default_rng(seed)), rig.main)
    ]


@pytest.mark.parametrize("rig_name", RIGS)
def test_every_tactic_has_an_example(rig_name: str, request: pytest.FixtureRequest, rng: np.random.Generator) -> None:
    rig, seed = RIGS[rig_name], request.config.getoption("--seed")
    idle = set(rig.tactics) - {tactic for _, tactic, _ in _offered_on_main(rig_name, seed)}
    for target, example in product(rig.targets, EXAMPLES.values()):
        if idle:
            idle -= {tactic for tactic, _ in applicable(rig, example.region(rng), target, idle)}
    assert not idle, "no example is computed by these tactics: add one to tests/regions"


@pytest.mark.parametrize("rig_name", RIGS)
def test_every_option_has_several_values(rig_name: str, request: pytest.FixtureRequest) -> None:
    """No field of the options of tactics is the same in all configs for all examples and targets; one that a kind of
    options inherits may be the same there.
    """
    rig, seen = RIGS[rig_name], defaultdict[tuple[type, str], set[object]](set)
    tactics, seed = set(rig.tactics), request.config.getoption("--seed")
    for target in dict.fromkeys((rig.main, *rig.targets)):
        kinds = dict[AnyTactic[Any], type]()
        for tactic, configs in _offered(rig_name, target, tactics, seed) if tactics else ():
            kinds[tactic] = type(configs[0].options)
            for config, field in product(configs, fields(configs[0].options)):
                owner = _owner(kinds[tactic], field.name)
                seen[owner, field.name].add(getattr(config.options, field.name))
        constant = {name for name, values in seen.items() if len(values) < 2}
        owners = {owner for owner, _ in constant}
        tactics = {tactic for tactic, kind in kinds.items() if owners.intersection(kind.__mro__)}
    assert not constant, "no example lets these options vary: add one to tests/regions"


def _offered(
    rig_name: str, target: str, tactics: Collection[AnyTactic[Any]], seed: int
) -> Iterator[tuple[AnyTactic[Any], Sequence[AnyConfig]]]:
    """What tactics offer for all examples."""
    rig = RIGS[rig_name]
    if target == rig.main:
        yield from ((tactic, configs) for _, tactic, configs in _offered_on_main(rig_name, seed) if tactic in tactics)
        return
    for example in EXAMPLES.values():
        yield from applicable(rig, example.region(np.random.default_rng(seed)), target, tactics)


def _owner(kind: type, field: str) -> type:
    """The class that a field of a dataclass is inherited from, or the dataclass itself."""
    return next(one for one in kind.__mro__ if field in vars(one).get("__annotations__", {}))

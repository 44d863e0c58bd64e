"""Options that are said once: what follows from their fields."""

from __future__ import annotations

import inspect
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

import pytest

import tensorwright as tw
from tensorwright.api.shortcuts import EngineOptions
from tensorwright.base.errors import BuildError
from tensorwright.base.options import About, Options, changed, given, options_of, taking
from tensorwright.build.config import BuildConfig, BuildOptions
from tensorwright.cli.main import app


@dataclass(frozen=True, kw_only=True)
class Baking(Options):
    degrees: Annotated[int, About("how hot the oven is.", least=50, most=300)] = 180
    minutes: Annotated[int | None, About("how long; None for until done.", least=0)] = None
    heat: Annotated[str, About("from where.", among=("below", "above"))] = "below"
    fan: Annotated[bool, About("whether air moves.")] = False
    spices: Annotated[Collection[str], About("what goes on top.")] = ()


@taking(Baking)
def bake(thing: str, options: Baking) -> str:
    """Something baked.

    Args:
        thing: what.
        {options}
    """
    return f"{thing} at {options.degrees}"


def test_a_function_takes_them_as_keywords() -> None:
    assert bake("bread", degrees=200) == "bread at 200"
    assert list(inspect.signature(bake).parameters) == ["thing", "degrees", "minutes", "heat", "fan", "spices"]
    assert "        degrees: how hot the oven is.\n        minutes: how long" in (bake.__doc__ or "")
    with pytest.raises(TypeError, match="degree"):
        bake("bread", degree=200)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"degrees": 20}, "degrees is 20; expected an integer from 50 to 300$"),
        ({"degrees": 80.0}, "degrees is 80.0; expected an integer"),
        ({"degrees": True}, "degrees is True; expected an integer"),
        ({"degrees": None}, "degrees is None; expected an integer"),
        ({"minutes": -1}, "minutes is -1; expected an integer of at least 0, or None$"),
        ({"heat": "left"}, "heat is 'left'; expected one of below, above$"),
        ({"fan": 1}, "fan is 1; expected True or False"),
        ({"spices": "salt"}, "spices is 'salt'; expected several texts"),
        ({"spices": [1]}, "spices is .1.; expected several texts"),
    ],
)
def test_values_that_are_not_accepted(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(BuildError, match=message):
        Baking(**wrong)
    (name, value) = next(iter(wrong.items()))
    with pytest.raises(BuildError, match=message):
        changed(Baking(), name, value)


def test_options_become_those_of_a_build() -> None:
    config = given(EngineOptions(level=1, shapes={"batch": 3}), BuildConfig, optimise=False)
    assert (config.level, config.optimise) == (1, False)


def test_the_shell_offers_every_option_of_a_build() -> None:
    """An option is offered unless it says that it is not for the shell."""
    (build,) = (command for command in app.registered_commands if command.name == "build")
    offered = set(inspect.signature(build.callback).parameters)
    for option in options_of(EngineOptions):
        assert (option.name in offered) == (option.about.help is not None), option.name
    assert set(inspect.signature(tw.build).parameters) == {"source", *(o.name for o in options_of(EngineOptions))}


def test_the_default_is_said_once() -> None:
    config = tw.Builder().create_builder_config()
    assert config.builder_optimization_level == BuildOptions().level == EngineOptions().level

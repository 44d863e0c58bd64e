"""The options of models and builds in the shell: each follows from what its field says; see `base.options`."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Optional, get_origin

from typer import Option as ShellOption

from tensorwright.api.shortcuts import EngineOptions
from tensorwright.base.options import Option, Options, options_of
from tensorwright.cli.command import number, numbers, pairs, ranges, size

Given = Mapping[str, object]
"""What a command was given, by the name of the option; what it was not given is not there."""

_SIZES = ("max_workspace_size", "max_model_size", "max_memory")
_PATHS = (Path, os.PathLike[str])


def with_options(kind: type[Options] = EngineOptions) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the options of a kind; it gets them as its parameter `options`, of type `Given`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        offered = [option for option in options_of(kind) if option.about.help is not None]

        @functools.wraps(function)
        def command(*args: object, **options: object) -> None:
            said = {option.name: _value(option, options.pop(option.name)) for option in offered}
            given = {name: value for name, value in said.items() if value is not None}
            function(*args, options=given, **options)

        signature = inspect.signature(function, eval_str=True)
        own = [parameter for parameter in signature.parameters.values() if parameter.name != "options"]
        parameters = [*own, *map(_parameter, offered)]
        ordered = sorted(parameters, key=lambda one: one.default is not one.empty)
        command.__signature__ = signature.replace(parameters=ordered)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in ordered}
        return command

    return decorate


def _parameter(option: Option) -> inspect.Parameter:
    about = option.about
    dashed = option.name.replace("_", "-")
    names = (f"--{dashed}/--no-{dashed}",) if bool in option.kinds else about.spelt or (f"--{dashed}",)
    default = "" if option.default in (None, ()) else str(option.default)
    shown = _type(option)
    annotation = list[str] if shown is list else shown
    shell = ShellOption(
        *names,
        help=about.help or about.text,
        min=about.least if shown is int else None,
        max=about.most if shown is int else None,
        show_default=default or False,
    )
    return inspect.Parameter(
        option.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[Optional[annotation], shell],  # noqa: UP045
    )


def _type(option: Option) -> type[object]:
    """How the shell takes the values of an option: bytes as a text with a unit, several things one by one."""
    if option.name in _SIZES:
        return str
    if any(get_origin(kind) in (Mapping, Sequence, Collection) for kind in option.kinds):
        return list
    if any(kind in _PATHS for kind in option.kinds):
        return Path
    return next(kind for kind in (bool, int, str) if kind in option.kinds)


def _value(option: Option, given: object) -> object:
    if given is None or given == []:
        return None
    if option.name in _SIZES:
        return size(str(given))
    if option.name == "profiles":
        assert isinstance(given, list)
        return tuple(map(ranges, given))
    if option.name == "constants" or Mapping[str, float] in option.kinds:
        assert isinstance(given, list)
        return dict(map(number, given))
    if Sequence[float] in option.kinds:
        assert isinstance(given, list)
        return tuple(value for text in given for value in numbers(text))
    if Mapping[str, str] in option.kinds:
        assert isinstance(given, list)
        return dict(pair for text in given for pair in pairs(text))
    return given

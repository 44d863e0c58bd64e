"""Options that are said once: fields of frozen dataclasses, whose annotations say what they mean and may be.

::

    @dataclass(frozen=True, kw_only=True)
    class BakingOptions(Options):
        degrees: Annotated[int, About("how hot the oven is.", least=50, most=300)] = 180

From that follow the keyword parameters of functions with their types and their documentation (`taking`), the checks of
what is given, and the options of the shell.
"""

from __future__ import annotations

import inspect
import operator
import textwrap
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, wraps
from types import NoneType, UnionType
from typing import Annotated, Concatenate, ParamSpec, SupportsFloat, TypeVar, cast, get_args, get_origin, get_type_hints

from tensorwright.base.errors import BuildError

Given = ParamSpec("Given")
Source = TypeVar("Source")
Result = TypeVar("Result")
AnyOptions = TypeVar("AnyOptions", bound="Options")


@dataclass(frozen=True)
class About:
    """What an option means, and which values it accepts.

    text: for documentation, from a small letter to a full stop.
    least, most: bounds of an integer.
    among: all texts that are accepted.
    spelt: how the shell spells it where that is not its name, such as ``--workspace``, with short forms.
    help: what the help of the shell says; empty for `text`. None keeps the option out of the shell.
    """

    text: str
    least: int | None = None
    most: int | None = None
    among: tuple[str, ...] = ()
    spelt: tuple[str, ...] = ()
    help: str | None = ""


@dataclass(frozen=True)
class Option:
    """One option: its name, the type of its values, its default."""

    name: str
    kind: object
    default: object
    about: About

    @property
    def kinds(self) -> tuple[object, ...]:
        """The types that a value may have, one by one."""
        return get_args(self.kind) if isinstance(self.kind, UnionType) else (self.kind,)

    @property
    def is_many(self) -> bool:
        """Whether a value is several texts."""
        return get_origin(self.kinds[0]) in (Collection, Sequence)

    def settled(self, value: object) -> object:
        """A value as it is kept: a text alone where several are expected among known ones counts as one of several."""
        return (value,) if self.is_many and self.about.among and isinstance(value, str) else value

    def wrong(self, value: object) -> str:
        """What was expected instead of a value; empty for a value that is accepted."""
        if value is None and NoneType in self.kinds:
            return ""
        about, optional = self.about, ", or None" if NoneType in self.kinds else ""
        if about.among:
            ones = cast("Collection[object]", value) if self.is_many and _is_texts(value) else (value,)
            several = " or several" if self.is_many else ""
            return (
                "" if all(one in about.among for one in ones) else f"one{several} of {', '.join(about.among)}{optional}"
            )
        if int in self.kinds:
            bounds = "" if about.least is None else f" of at least {about.least}"
            bounds = bounds if about.most is None else f" from {about.least} to {about.most}"
            return "" if self._is_within(value) else f"an integer{bounds}{optional}"
        if self.kinds == (bool,):
            return "" if isinstance(value, bool) else "True or False"
        if get_origin(self.kinds[0]) is Mapping:
            return "" if _is_mapping(value) else f"a mapping from names{optional}"
        if self.is_many and get_origin(get_args(self.kinds[0])[0]) is Mapping:
            return "" if _is_mappings(value) else f"several mappings from names, such as a list{optional}"
        if self.is_many and get_args(self.kinds[0]) == (float,):
            return "" if _is_numbers(value) else f"several numbers, such as a list{optional}"
        if self.is_many:
            return "" if _is_texts(value) else f"several texts, such as a list{optional}"
        return ""

    def _is_within(self, value: object) -> bool:
        if isinstance(value, bool):
            return False
        try:
            number = operator.index(value)  # type: ignore[arg-type]
        except TypeError:
            return False
        least, most = self.about.least, self.about.most
        return (least is None or number >= least) and (most is None or number <= most)


def _is_texts(value: object) -> bool:
    is_many = isinstance(value, Collection) and not isinstance(value, str | bytes)
    return is_many and all(isinstance(one, str) for one in cast("Collection[object]", value))


def _is_numbers(value: object) -> bool:
    if not isinstance(value, Collection) or isinstance(value, str | bytes):
        return False
    return all(isinstance(one, SupportsFloat) for one in cast("Collection[object]", value))


def _is_mappings(value: object) -> bool:
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    return all(_is_mapping(one) for one in cast("Sequence[object]", value))


def _is_mapping(value: object) -> bool:
    if not isinstance(value, Mapping):
        return False
    return all(isinstance(name, str) for name in cast("Mapping[object, object]", value))


@dataclass(frozen=True, kw_only=True)
class Options:
    """Base of all options; they are checked when they are made."""

    def __post_init__(self) -> None:
        for option in options_of(type(self)):
            value = option.settled(getattr(self, option.name))
            object.__setattr__(self, option.name, value)
            wrong = option.wrong(value)
            if wrong:
                raise BuildError(f"{option.name} is {value!r}; expected {wrong}")


def options_of(kind: type[Options]) -> tuple[Option, ...]:
    """The options among the fields of a dataclass, in order."""
    return _options_of(cast("Hashable", kind))


@cache
def _options_of(kind: type[Options]) -> tuple[Option, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        Option(field.name, get_args(hints[field.name])[0], field.default, get_args(hints[field.name])[1])
        for field in fields(kind)
        if get_origin(hints[field.name]) is Annotated
    )


def given(options: Options, kind: type[AnyOptions], **others: object) -> AnyOptions:
    """The options of a kind among others, with further fields of that kind."""
    names = {option.name for option in options_of(kind)} & {option.name for option in options_of(type(options))}
    return kind(**{name: getattr(options, name) for name in names} | others)


def changed(options: AnyOptions, name: str, value: object) -> AnyOptions:
    """The options with one of them changed and checked."""
    return replace(options, **{name: value})


def taking(
    kind: Callable[Given, AnyOptions],
) -> Callable[[Callable[[Source, AnyOptions], Result]], Callable[Concatenate[Source, Given], Result]]:
    """Give a function of something and options the options as keyword parameters.

    ``{options}`` in its docstring becomes what the options say of themselves, behind the line of the first parameter.
    """

    def decorate(function: Callable[[Source, AnyOptions], Result]) -> Callable[Concatenate[Source, Given], Result]:
        @wraps(function)
        def call(source: Source, *args: Given.args, **options: Given.kwargs) -> Result:
            return function(source, kind(*args, **options))

        _describe(call, function, cast("type[Options]", kind))
        return cast("Callable[Concatenate[Source, Given], Result]", call)

    return decorate


def _describe(call: Callable[..., object], function: Callable[..., object], kind: type[Options]) -> None:
    """Give a function that takes options signature and documentation."""
    first = next(iter(inspect.signature(function).parameters.values()))
    keywords = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.kind)
        for option in options_of(kind)
    ]
    call.__signature__ = inspect.signature(function).replace(parameters=[first, *keywords])  # type: ignore[attr-defined]
    lines = [_documented(option) for option in options_of(kind)]
    call.__doc__ = (function.__doc__ or "").replace("{options}", "\n".join(lines).strip())


def _documented(option: Option) -> str:
    width, indent = 120, " " * 8
    text = f"{option.name}: {option.about.text}"
    return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent + " " * 4)

"""How objects get further names: a facade says its own and leaves the others to the object behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Self, TypeVar

Inner = TypeVar("Inner")
Class = TypeVar("Class", bound=type)


class Facade(Generic[Inner]):
    """Stands for an object of tensorwright, `inner`, and has its attributes besides its own.

    `destroy`, and leaving a `with` block, end the life of the object in the older interfaces. Here objects live as long
    as anything refers to them.
    """

    inner: Inner

    def __init__(self, inner: Inner) -> None:
        object.__setattr__(self, "inner", inner)

    def destroy(self) -> None:
        """Nothing: the object goes when nobody refers to it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.destroy()

    def __getattr__(self, name: str) -> object:
        if name == "inner" or (name.startswith("__") and name.endswith("__")):
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'")
        try:
            return wrapped(getattr(self.inner, name))
        except AttributeError:
            raise AttributeError(f"{type(self).__name__} has no attribute '{name}'") from None

    def __setattr__(self, name: str, value: object) -> None:
        if hasattr(type(self), name) or not hasattr(self.inner, name):
            object.__setattr__(self, name, value)
        else:
            setattr(self.inner, name, unwrapped(value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Facade) and other.inner is self.inner

    def __hash__(self) -> int:
        return hash(id(self.inner))

    def __repr__(self) -> str:
        return repr(self.inner)


class Answer(int):
    """True or False that can also be called: older interfaces ask a method where later ones have a property."""

    def __call__(self) -> bool:
        return bool(self)

    def __repr__(self) -> str:
        return repr(bool(self))

    __str__ = __repr__


FACADES: dict[type, Callable[[object], object]] = {}
"""What stands for objects of a class; filled by `faces` when the classes are defined."""


def faces(*kinds: type) -> Callable[[Class], Class]:
    """The decorated class stands for objects of these classes wherever calls return them."""

    def register(facade: Class) -> Class:
        FACADES.update(dict.fromkeys(kinds, facade))
        return facade

    return register


def wrapped(value: object) -> object:
    """What scripts get: facades of the objects that have one, also of what a method returns."""
    facade = next((FACADES[kind] for kind in type(value).__mro__ if kind in FACADES), None)
    if facade is not None:
        return facade(value)
    if callable(value) and hasattr(value, "__self__"):
        return _forwarding(value)
    return value


def unwrapped(value: object) -> object:
    """The objects behind facades, also in lists and mappings."""
    if isinstance(value, Facade):
        return unwrapped(value.inner)
    if type(value) is list:
        return [unwrapped(one) for one in value]
    if type(value) is tuple:
        return tuple(unwrapped(one) for one in value)
    if isinstance(value, Mapping):
        return {key: unwrapped(one) for key, one in value.items()}
    return value


def forward(name: str) -> Callable[..., object]:
    """A method that calls the one of this name of the object behind the facade."""

    def method(self: Facade[object], *arguments: object, **named: object) -> object:
        return _forwarding(getattr(self.inner, name))(*arguments, **named)

    method.__name__ = method.__qualname__ = name
    return method


def getter(name: str) -> Callable[[Any], object]:
    """A method without arguments that returns a property."""
    return lambda self: wrapped(getattr(self.inner, name))


def setter(name: str) -> Callable[[Facade[object], object], None]:
    """A method that sets a property."""
    return lambda self, value: setattr(self.inner, name, unwrapped(value))


def accessors(**names: str) -> Callable[[Class], Class]:
    """The decorated class gets `get_x` and `set_x` for every x, which read and set the property that x is called."""

    def add(facade: Class) -> Class:
        for name, property in names.items():
            setattr(facade, f"get_{name}", getter(property))
            setattr(facade, f"set_{name}", setter(property))
        return facade

    return add


def _forwarding(function: Callable[..., object]) -> Callable[..., object]:
    def call(*arguments: object, **named: object) -> object:
        plain = [unwrapped(one) for one in arguments]
        return wrapped(function(*plain, **{key: unwrapped(one) for key, one in named.items()}))

    return call

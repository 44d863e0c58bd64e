"""What a rewrite rule is, and the pass that applies rules everywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tensorwright.graph.graph import Graph, Value
from tensorwright.graph.op import Op

Permit = Callable[[str, Value, Value], bool]
"""Asked before each rewrite whether it may happen: the name of the rule, a value, and what is to take its place."""


def freely(_rule: str, _before: Value, _after: Value) -> bool:
    """Permits every rewrite."""
    return True


@dataclass(frozen=True)
class Pass:
    """Turns a graph into an equivalent one by rewrites, each of which is left out if the permit says so.

    Deterministic: of the same graph and with the same answers it makes the same rewrites in the same order.
    """

    name: str
    run: Callable[[Graph, Permit], Graph]

    def __call__(self, graph: Graph, permit: Permit = freely) -> Graph:
        return self.run(graph, permit)


def graph_pass(function: Callable[[Graph, Permit], Graph]) -> Pass:
    """Makes a pass of a function, with its name."""
    return Pass(function.__name__, function)


def replaced_where(graph: Graph, rule: str, permit: Permit, visit: Callable[[Value], Value | None]) -> Graph:
    """The graph after one visit to every value, operands first; see `Graph.rebuild`."""

    def permitted(value: Value) -> Value | None:
        found = visit(value)
        return found if found is None or found is value or permit(rule, value, found) else None

    return graph.rebuild(permitted)


AT_ONCE = 16
"""How often the rules of a pass are tried at one value before the pass moves on."""


@dataclass(frozen=True)
class Uses:
    """How often values are used, as operands or outputs."""

    counts: Mapping[Value, int]

    def once(self, value: Value) -> bool:
        """Whether a value has one user, which is then free to take its place. False for values not counted yet."""
        return self.counts.get(value) == 1

    def only_by(self, user: Value, value: Value) -> bool:
        """Whether `user`, which may use it several times, is the only user of a value."""
        return self.counts.get(value) == user.inputs.count(value)


@dataclass(frozen=True)
class Rewrite:
    """A rule for values made by one of some operator classes: an equivalent value of the same type, or None."""

    roots: tuple[type[Op], ...]
    rule: Callable[[Value, Uses], Value | None]
    name: str

    def __call__(self, value: Value, uses: Uses) -> Value | None:
        return self.rule(value, uses) if isinstance(value.op, self.roots) else None


def rewrite(*roots: type[Op]) -> Callable[[Callable[[Value], Value | None]], Rewrite]:
    """Makes a rule of a function of a value whose operator is of one of the classes `roots`."""

    def decorate(function: Callable[[Value], Value | None]) -> Rewrite:
        return Rewrite(roots, lambda value, _uses: function(value), function.__name__)

    return decorate


def rewrite_with_uses(*roots: type[Op]) -> Callable[[Callable[[Value, Uses], Value | None]], Rewrite]:
    """As `rewrite`, for functions that also ask how often values are used."""

    def decorate(function: Callable[[Value, Uses], Value | None]) -> Rewrite:
        return Rewrite(roots, function, function.__name__)

    return decorate


def rules_pass(name: str, rules: Sequence[Rewrite]) -> Pass:
    """The pass that applies rules to every value, operands first, until none of them fires at that value."""

    def run(graph: Graph, permit: Permit) -> Graph:
        counts = graph.uses()
        original = iter(graph.order())
        uses = Uses(counts)

        def visit(value: Value) -> Value:
            before = next(original)
            result = rewritten(value, rules, uses, permit)
            if result is not before:
                counts[result] += counts[before]
            return result

        return graph.rebuild(visit)

    return Pass(name, run)


def rewritten(value: Value, rules: Sequence[Rewrite], uses: Uses, permit: Permit) -> Value:
    """The value after all rules that fire at it."""
    for _ in range(AT_ONCE):
        rule, found = next(((rule, made) for rule in rules if (made := rule(value, uses)) is not None), (None, None))
        if rule is None or found is None or found is value:
            return value
        if found.type != value.type:
            raise AssertionError(f"the rewrite {rule.name} changed the type of {value} to {found}")
        if not permit(rule.name, value, found):
            return value
        value = found
    return value


def joined_name(*values: Value) -> str:
    """The names of the user's layers that a merged value stands for, each once, in order."""
    parts = list(dict.fromkeys(part for value in values for part in value.name.split(" + ")))
    return " + ".join(parts if len(parts) <= 4 else [parts[0], "…", parts[-1]])

"""What lies where in the arena, step by step."""

from __future__ import annotations

from tensorwright.base.text import format_bytes
from tensorwright.picture.colours import hue
from tensorwright.picture.facts import Facts, Tensor
from tensorwright.picture.markup import Markup, drawing, fitting, number, tag, together

WIDTH, LEFT, RIGHT = 1120.0, 74.0, 8.0
HEIGHT, TOP, AXIS = 240.0, 6.0, 30.0
TICKS = 20


def arena(facts: Facts) -> Markup:
    """Steps to the right, bytes upwards; every tensor from the step that writes it to the last that reads it."""
    inside = [tensor for tensor in facts.tensors if tensor.place == "arena"]
    size = max([facts.plan.arena_bytes, *(tensor.end for tensor in inside)]) or 1
    wide = (WIDTH - LEFT - RIGHT) / max(len(facts.steps), 1)
    scale = HEIGHT / size
    parts = [_scale(size, facts), _steps(len(facts.steps), wide)]
    numbers = {tensor: number for number, tensor in enumerate(inside)}
    ranked = sorted(inside, key=lambda tensor: -tensor.size)
    wholes = facts.wholes
    for tensor in ranked:
        within = any(is_part(tensor, whole) for whole in wholes)
        kind = ("tensor whole" if tensor in wholes else "tensor") + (" within" if within else "")
        parts.append(_block(tensor, numbers[tensor], wide, scale, kind))
    whole = HEIGHT + TOP + AXIS
    return drawing("tensors in the arena", WIDTH, whole, *parts)


def is_part(tensor: Tensor, whole: Tensor) -> bool:
    """Whether a tensor is written where a larger one will be read, such as the operand of a concatenation."""
    inside = whole.offset <= tensor.offset and tensor.end <= whole.end and tensor.size < whole.size
    return (
        inside and tensor.place == whole.place == "arena" and whole.first <= tensor.first and tensor.last < whole.last
    )


def _block(tensor: Tensor, number: int, wide: float, scale: float, kind: str) -> Markup:
    x, width = LEFT + wide * tensor.first, wide * (tensor.last - tensor.first + 1)
    y, height = TOP + HEIGHT - scale * tensor.end, scale * tensor.size
    parts = [tag("title", _tip(tensor, "whole" in kind))]
    parts.append(tag("rect", x=x, y=y, width=max(width - 0.8, 0.5), height=max(height - 0.5, 0.5)))
    name = fitting(tensor.name, width - 8)
    if name and height >= 13 and "within" not in kind:
        parts.append(tag("text", name, x=x + 4, y=y + 11, class_="inside"))
    return tag("g", *parts, class_=kind, style=f"--hue:{hue(number)}", data_from=tensor.first, data_to=tensor.last)


def _tip(tensor: Tensor, has_parts: bool) -> str:
    lines = [
        tensor.name,
        f"{tensor.type} {tensor.layout}",
        f"{format_bytes(tensor.size)} from byte {tensor.offset:,}",
        f"needed from step {tensor.first} to step {tensor.last}",
    ]
    return "\n".join([*lines, *(["its parts are written where they lie"] if has_parts else [])])


def _scale(size: int, facts: Facts) -> Markup:
    parts = []
    for quarter in range(5):
        y = TOP + HEIGHT * (1 - quarter / 4)
        parts.append(tag("path", d=f"M{number(LEFT)} {number(y)}H{number(WIDTH - RIGHT)}", class_="grid"))
        parts.append(tag("text", format_bytes(size * quarter // 4), x=0, y=y + (10 if quarter == 4 else 4)))
    if facts.lower_bound is not None and facts.lower_bound < size:
        y = TOP + HEIGHT * (1 - facts.lower_bound / size)
        title = tag("title", f"{format_bytes(facts.lower_bound)} are alive at once: no arena can be smaller")
        parts.append(tag("path", title, d=f"M{number(LEFT)} {number(y)}H{number(WIDTH - RIGHT)}", class_="bound"))
    return together(parts)


def _steps(count: int, wide: float) -> Markup:
    parts = []
    every = max(1, -(-count // TICKS))
    for step in range(count):
        x = LEFT + wide * step
        band = tag("rect", x=x, y=TOP, width=wide, height=HEIGHT, class_="band")
        label = (
            [tag("text", str(step), x=x + wide / 2, y=TOP + HEIGHT + 13, class_="tick")] if step % every == 0 else []
        )
        parts.append(tag("g", band, *label, data_step=step))
    parts.append(tag("text", "step", x=LEFT, y=TOP + HEIGHT + 27, class_="axis"))
    return together(parts)

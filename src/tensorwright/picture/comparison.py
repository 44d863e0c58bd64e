"""A comparison with float32 as a page: what every layer brings about, as bars."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from math import inf, log10

from tensorwright.base.text import printable
from tensorwright.build.compare import Comparison, LayerError
from tensorwright.picture.markup import Markup, drawing, fitting, tag, together
from tensorwright.picture.page import POLICY

WIDTH, NAMES, VALUES = 1120.0, 330.0, 90.0
ROW, BAR = 20.0, 12.0
SPAN = 4.0
"""Bars show so many powers of ten below the largest value."""


def comparison_page(made: Comparison, title: str) -> str:
    """HTML that shows the errors of all layers; it loads nothing."""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", f"{printable(title)}: {made.precision} beside float32"),
        tag("style", Markup(files("tensorwright.picture").joinpath("style.css").read_text(encoding="utf-8"))),
    )
    kept = {layer.name for layer in made.kept}
    alone = _section(
        "Each layer alone",
        "The relative error of the network's outputs with this layer alone in the narrower type, the worst first; "
        f"logarithmic, {SPAN:.0f} powers of ten. Kept in float32: {', '.join(kept) or 'none'}.",
        _bars(made.ranked, [layer.alone for layer in made.ranked]),
    )
    noise = [10 ** (-layer.signal_to_noise / 20) for layer in made.layers]
    together_ = _section(
        "All layers",
        "The relative error of each layer's result with the whole network in the narrower type, from input to output; "
        "logarithmic as above.",
        _bars(made.layers, noise),
    )
    figures = [("outputs", _percent(made.error)), ("layers", str(len(made.layers)))]
    if made.kept_error is not None:
        figures.append((f"outputs with {len(made.kept)} layers in float32", _percent(made.kept_error)))
    cells = [tag("div", tag("dt", name), tag("dd", value)) for name, value in figures]
    header = tag("header", tag("h1", f"{printable(title)}: {made.precision}"), tag("dl", *cells))
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', header, alone, together_), lang='en').text}\n"


def _section(title: str, text: str, content: Markup) -> Markup:
    return tag("section", tag("h2", title), tag("p", text, class_="note"), content)


def _bars(layers: Sequence[LayerError], values: Sequence[float]) -> Markup:
    largest = max((value for value in values if 0 < value < inf), default=1.0)
    rows = [
        _bar(number, layer.name, value, _share(value, largest))
        for number, (layer, value) in enumerate(zip(layers, values, strict=True))
    ]
    return drawing("errors of layers", WIDTH, ROW * len(rows) + 4, together(rows))


def _bar(number: int, name: str, value: float, share: float) -> Markup:
    y, width = ROW * number, (WIDTH - NAMES - VALUES) * share
    return tag(
        "g",
        tag("title", f"{name}: {_percent(value)}"),
        tag("text", fitting(name, NAMES), x=0, y=y + BAR + 2),
        tag("rect", x=NAMES, y=y + 4, width=max(width, 0.5), height=BAR, class_="t0"),
        tag("text", _percent(value), x=NAMES + width + 6, y=y + BAR + 2),
    )


def _share(value: float, largest: float) -> float:
    """How long a bar is, from 0 to 1."""
    if value <= 0:
        return 0.0
    return 1.0 if value == inf else max(0.0, 1 + log10(value / largest) / SPAN)


def _percent(value: float) -> str:
    return "infinite" if value == inf else f"{100 * value:.3g} %"

"""A comparison with float32 as a picture in a file: the bars of the page, by matplotlib."""

from __future__ import annotations

from io import BytesIO
from math import inf
from typing import TYPE_CHECKING

from tensorwright.base.errors import BuildError
from tensorwright.base.text import printable
from tensorwright.build.compare import Comparison, LayerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

FORMATS = ("png", "svg", "pdf")
WIDTH, ROW, REST = 10.0, 0.2, 1.6
"""Inches."""
LONGEST_NAME = 48


def comparison_plot(made: Comparison, title: str, format: str) -> bytes:
    """The content of a file in one of `FORMATS`: the relative errors of the outputs with each layer alone in the
    narrower type, the worst first, and of each layer's result with all of them, from input to output.

    Raises:
        BuildError: matplotlib is not there.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BuildError("plots need matplotlib: pip install 'tensorwright[plots]'; --html needs nothing") from None
    figure = Figure(figsize=(WIDTH, 2 * (ROW * len(made.layers) + REST)), layout="constrained")
    figure.suptitle(f"{printable(title)}: {made.precision} beside float32")
    alone, together = figure.subplots(2)
    _draw(alone, "outputs with each layer alone", made.ranked, [layer.alone for layer in made.ranked])
    noise = [10 ** (-layer.signal_to_noise / 20) for layer in made.layers]
    _draw(together, "results with all layers", made.layers, noise)
    content = BytesIO()
    figure.savefig(content, format=format)
    return content.getvalue()


def _draw(axes: Axes, title: str, layers: Sequence[LayerError], values: Sequence[float]) -> None:
    """Bars from the top down; what is infinite is as long as the longest, what is zero has none."""
    largest = max((value for value in values if value < inf), default=1.0) or 1.0
    axes.barh(range(len(layers)), [min(value, largest) for value in values], color="#4c72b0")
    axes.set_yticks(range(len(layers)), [printable(layer.name)[:LONGEST_NAME] for layer in layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=largest * 1e-4)
    axes.set_xlabel("relative error")
    axes.set_title(title)

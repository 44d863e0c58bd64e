"""Draws the chart of the README: ``python -m benchmarks.chart ROWS.json docs/performance.png``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

COLOURS = {
    "tensorwright": "#c8442c",
    "onnxruntime": "#6b7a8f",
    "openvino": "#97a3b3",
    "ncnn": "#bcc5d0",
    "mnn": "#d9dfe6",
}
HIGHEST = 2.6
"""Bars end here; those that would be higher say how high."""


def draw(rows: list[dict[str, float | int | str]], destination: Path, threads: int = 1) -> None:
    """Bars of median latency relative to tensorwright's, one group for each model and type that it is computed in."""
    chosen = [{**row, "model": _group(row)} for row in rows if row["threads"] == threads]
    models = list(dict.fromkeys(str(row["model"]) for row in chosen))
    engines = [engine for engine in COLOURS if any(row["engine"] == engine for row in chosen)]
    medians = {(row["model"], row["engine"]): float(row["median_ms"]) for row in chosen}
    figure, axes = plt.subplots(figsize=(max(10, len(models)), 4))
    width = 0.8 / len(engines)
    for number, engine in enumerate(engines):
        places = np.arange(len(models)) + (number - (len(engines) - 1) / 2) * width
        heights = [medians.get((m, engine), np.nan) / medians[m, "tensorwright"] for m in models]
        bars = axes.bar(places, heights, width * 0.92, label=engine, color=COLOURS[engine])
        if engine == "tensorwright":
            labels = [f"{medians[m, engine]:.3g} ms" for m in models]
            axes.bar_label(bars, labels, rotation=90, padding=-44, fontsize=8, color="white")
        for place, height in zip(places, heights, strict=True):
            if height > HIGHEST:
                axes.text(place, HIGHEST - 0.04, f"{height:.1f} ×", rotation=90, ha="center", va="top", fontsize=8)
    axes.set_xticks(range(len(models)), models, fontsize=8)
    axes.set_ylabel("median latency ÷ tensorwright's")
    axes.axhline(1, color=COLOURS["tensorwright"], linewidth=0.8)
    axes.set_ylim(0, HIGHEST)
    types = ", ".join(dict.fromkeys(str(row["precision"]) for row in chosen))
    axes.set_title(f"Batch 1, {types}, {threads} thread{'s' if threads > 1 else ''}; lower is better", fontsize=11)
    axes.legend(ncol=len(engines), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(destination, dpi=150)


def _group(row: dict[str, float | int | str]) -> str:
    """What a group of bars is called."""
    return str(row["model"]) if row["precision"] == "float32" else f"{row['model']}\n{row['precision']}"


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))

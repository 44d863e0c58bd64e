"""Draws the charts: ``python -m benchmarks.chart ROWS.json docs/performance.png``, also of rows of GPUs."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    "PyTorch, inductor": "#97a3b3",
    "PyTorch, eager": "#bcc5d0",
    "JAX": "#d9dfe6",
}
PEERS = {"onnxruntime": "onnxruntime", "inductor": "PyTorch, inductor", "eager": "PyTorch, eager", "jax": "JAX"}
"""What the peers' fields in rows of GPUs are called."""
HIGHEST = 2.6
"""Bars end here; those that would be higher say how high."""
HIGHEST_ON_GPU = 5.0
Row = Mapping[str, float | int | str | None]


@dataclass(frozen=True)
class Chart:
    """Medians by group of bars and engine. highest: where bars end; those that would be higher say how high."""

    medians: Mapping[tuple[str, str], float]
    unit: str
    title: str
    highest: float

    def draw(self, destination: Path) -> None:
        """Bars of median latency relative to tensorwright's."""
        groups = list(dict.fromkeys(group for group, _ in self.medians))
        engines = [engine for engine in COLOURS if any(known == engine for _, known in self.medians)]
        figure, axes = plt.subplots(figsize=(max(10, len(groups)), 4))
        width = 0.8 / len(engines)
        for number, engine in enumerate(engines):
            places = np.arange(len(groups)) + (number - (len(engines) - 1) / 2) * width
            heights = [self.medians.get((g, engine), np.nan) / self.medians[g, "tensorwright"] for g in groups]
            bars = axes.bar(places, heights, width * 0.92, label=engine, color=COLOURS[engine])
            if engine == "tensorwright":
                labels = [f"{self.medians[group, engine]:.3g} {self.unit}" for group in groups]
                padding, colour = (-44, "white") if self.highest <= HIGHEST else (3, COLOURS[engine])
                axes.bar_label(bars, labels, rotation=90, padding=padding, fontsize=8, color=colour)
            for place, height in zip(places, heights, strict=True):
                if height > self.highest:
                    top = self.highest - 0.04
                    axes.text(place, top, f"{height:.1f} ×", rotation=90, ha="center", va="top", fontsize=8)
        axes.set_xticks(range(len(groups)), groups, fontsize=8)
        axes.set_ylabel("median latency ÷ tensorwright's")
        axes.axhline(1, color=COLOURS["tensorwright"], linewidth=0.8)
        axes.set_ylim(0, self.highest)
        axes.set_title(self.title, fontsize=11)
        axes.legend(ncol=len(engines), frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.12), fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(destination, dpi=150)


def of_cpus(rows: Sequence[Row], threads: int = 1) -> Chart:
    """One group for each model and type that it is computed in."""
    chosen = [row for row in rows if row["threads"] == threads]
    medians = {(_group(row), str(row["engine"])): float(row["median_ms"] or 0) for row in chosen}
    types = ", ".join(dict.fromkeys(str(row["precision"]) for row in chosen))
    title = f"Batch 1, {types}, {threads} thread{'s' if threads > 1 else ''}; lower is better"
    return Chart(medians, "ms", title, HIGHEST)


def of_gpu(rows: Sequence[Row]) -> Chart:
    """One group for each network, batch and type, with all peers that were measured."""
    medians = dict[tuple[str, str], float]()
    for row in rows:
        model, batch, type = str(row["network"]).split(":")
        group = f"{model}\n{type}" if batch == "1" else f"{model}\nbatch {batch}, {type}"
        for field, engine in {"tensorwright": "tensorwright", **PEERS}.items():
            median = row.get(field)
            if row["tensorwright"] and median:
                medians[group, engine] = float(median)
    return Chart(medians, "µs", "One H200, batch 1; lower is better", HIGHEST_ON_GPU)


def _group(row: Row) -> str:
    """What a group of bars is called."""
    return str(row["model"]) if row["precision"] == "float32" else f"{row['model']}\n{row['precision']}"


if __name__ == "__main__":
    found = json.loads(Path(sys.argv[1]).read_text())
    (of_gpu(found) if "network" in found[0] else of_cpus(found)).draw(Path(sys.argv[2]))

"""Writes rows of a comparison as a Markdown table: ``python -m benchmarks.report ROWS.json``."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

Row = dict[str, float | int | str]


def table(rows: list[Row]) -> str:
    """One line per model and thread count: medians in milliseconds, the best peer in bold, and its ratio to ours."""
    engines = list(dict.fromkeys(str(row["engine"]) for row in rows))
    lines = [
        "| model | threads | " + " | ".join(engines) + " | best peer ÷ tensorwright |",
        "| --- | --- | " + " | ".join(["---"] * len(engines)) + " | --- |",
    ]
    ratios = []
    for model, threads in dict.fromkeys((row["model"], row["threads"]) for row in rows):
        medians = {
            str(row["engine"]): float(row["median_ms"])
            for row in rows
            if (row["model"], row["threads"]) == (model, threads)
        }
        best = min((ms, engine) for engine, ms in medians.items() if engine != "tensorwright")
        ratios.append(best[0] / medians["tensorwright"])
        cells = [_cell(medians.get(engine), engine == best[1]) for engine in engines]
        lines.append(f"| {model} | {threads} | {' | '.join(cells)} | {ratios[-1]:.2f} |")
    mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
    return "\n".join([*lines, "", f"Geometric mean of best peer ÷ tensorwright: **{mean:.3f}**."])


def _cell(milliseconds: float | None, is_best: bool) -> str:
    if milliseconds is None:
        return "–"
    text = f"{milliseconds:.3g}" if milliseconds < 100 else f"{milliseconds:.0f}"
    return f"**{text}**" if is_best else text


if __name__ == "__main__":
    print(table(json.loads(Path(sys.argv[1]).read_text())))

"""Writes rows as Markdown tables: ``python -m benchmarks.report ROWS.json [MORE.json …]``.

Rows of `benchmarks.compare` become a table of latencies, those of `benchmarks.load` a table of costs.
"""

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


def costs(rows: list[Row]) -> str:
    """One line per model, thread count and engine: load time and peak memory beside ONNX Runtime's, build time."""
    lines = [
        "| model | threads | engine | load, s | ÷ onnxruntime | peak, MB | ÷ onnxruntime | build, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    found: dict[tuple[str, int, str], Row] = {}
    for row in rows:
        key = str(row["model"]), int(row["threads"]), str(row["engine"])
        found[key] = {**found.get(key, {}), **row}
    for (model, threads, engine), row in found.items():
        judge = found.get((model, threads, "onnxruntime"), {})
        cells = [_number(row.get("load_seconds")), _ratio(row, judge, "load_seconds")]
        cells += [_number(row.get("peak_bytes"), 1e-6), _ratio(row, judge, "peak_bytes")]
        cells += [_number(row.get("build_seconds"))]
        lines.append(f"| {model} | {threads} | {engine} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float | str | None, factor: float = 1.0) -> str:
    return "–" if value is None else f"{float(value) * factor:.3g}"


def _ratio(row: Row, judge: Row, field: str) -> str:
    return f"{float(row[field]) / float(judge[field]):.2f}" if field in row and field in judge else "–"


def report(rows: list[Row]) -> str:
    """All tables that the rows have something for."""
    latencies = [row for row in rows if "median_ms" in row]
    others = [row for row in rows if "median_ms" not in row]
    return "\n\n".join(([table(latencies)] if latencies else []) + ([costs(others)] if others else []))


if __name__ == "__main__":
    print(report([row for path in sys.argv[1:] for row in json.loads(Path(path).read_text())]))

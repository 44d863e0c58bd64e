"""The networks that are measured on GPUs compute the same whatever the batch; both sides are waited for and timed."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from benchmarks.gpu.beside import READY, Row, Side
from benchmarks.gpu.models import bert, vit
from rich.console import Console

from tensorwright.graph.evaluate import evaluate_graph
from tensorwright.graph.graph import Graph
from tensorwright.tensor.dtype import FLOAT32


@pytest.mark.parametrize(
    "make",
    [
        lambda batch: vit(batch, FLOAT32, layers=1, width=48),
        lambda batch: bert(batch, layers=1, width=48, length=5, dtype=FLOAT32),
    ],
    ids=["vit", "bert"],
)
def test_a_batch_is_so_many_times_the_network(make: Callable[[int], Graph], rng: np.random.Generator) -> None:
    three, one = make(3), make(1)
    (name, value), *_ = three.inputs
    given = rng.standard_normal([int(extent) for extent in value.type.shape]).astype(np.float32)
    (together,) = evaluate_graph(three, {name: given}).values()
    for number in range(3):
        (alone,) = evaluate_graph(one, {name: given[number : number + 1]}).values()
        np.testing.assert_allclose(together[number : number + 1], alone, rtol=1e-4, atol=1e-4)


SIDE = f"""
import argparse, json, pathlib, time
parser = argparse.ArgumentParser()
for name in ("--after", "--until", "--json"):
    parser.add_argument(name, type=pathlib.Path)
parser.add_argument("seconds", type=float)
given = parser.parse_args()
end = time.monotonic() + given.seconds
while time.monotonic() < end and not given.until.exists():
    time.sleep(0.01)
print("{READY}", flush=True)
while not given.after.exists():
    time.sleep(0.01)
given.json.write_text(json.dumps([{{"network": "net:1:f16", "is_whole": not given.until.exists()}}]))
"""


@pytest.mark.parametrize(("seconds", "is_whole"), [("0", True), ("600", False)])
def test_a_side_is_timed_with_what_it_has_prepared(
    seconds: str, is_whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "played_side.py").write_text(SIDE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    side = Side("played_side", [seconds], "played", tmp_path, Console(file=sys.stderr))
    side.prepare(time.monotonic() + (60 if is_whole else 0.2))
    assert side.timed() == [{"network": "net:1:f16", "is_whole": is_whole}]


@pytest.mark.parametrize(
    ("times", "ratio"),
    [((100.0, 300.0, 150.0, None), 1.5), ((100.0, 300.0, 150.0, 120.0), 1.2), ((None, 300.0, 150.0, None), None)],
)
def test_the_ratio_is_to_the_best_peer(times: tuple[float | None, ...], ratio: float | None) -> None:
    assert Row("net:1:f16", *times, error=None, build_seconds=None).ratio == ratio

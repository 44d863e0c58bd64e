"""A build writes its stages, numbered, and stops where it is told to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from graphs import binary, constant, drawn, given, network
from tensorwright.base.errors import BuildError
from tensorwright.build.build import build
from tensorwright.build.config import BuildConfig
from tensorwright.graph.graph import Graph, apply
from tensorwright.ops.activation import Relu
from tensorwright.ops.matmul import MatMul
from tensorwright.passes import pipeline
from tensorwright.passes.rewrite import rewrite, rules_pass
from tensorwright.plan.file import serialize_plan
from tensorwright.runtime.engine import Engine


def small(rng: np.random.Generator) -> Graph:
    product = apply(MatMul(), given("x", 3, 4), binary("mul", drawn(rng, 4, 5), constant(2.0)), name="product")
    return network(apply(Relu(), binary("add", binary("mul", product, 1.0), 0.0), name="y\x1b[1m"))


def dumped(graph: Graph, folder: Path, **options: object) -> list[str]:
    build(graph, BuildConfig(level=0, threads=2, timing_cache="", dump=folder, **options))
    return sorted(path.name for path in folder.iterdir())


def test_every_stage_is_a_numbered_file(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = small(rng)
    names = dumped(graph, tmp_path / "new" / "dump")
    assert names[0] == "00-imported.txt"
    assert names[1] == "01-after-fold_constants.txt"
    assert [name.split("-", 1)[1] for name in names[-4:-1]] == ["regions.txt", "choices.txt", "program.txt"]
    assert [int(name[:2]) for name in names[:-1]] == list(range(len(names) - 1))
    lines = (tmp_path / "new" / "dump" / "rewrites.txt").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines] == list(range(1, len(lines) + 1))
    assert "fold_constants:1 fold: %binary = Binary -> %binary = ConstantTensor, float32[4×5]" in lines[0]
    for name in names:
        text = (tmp_path / "new" / "dump" / name).read_text()
        assert all(line.isprintable() for line in text.splitlines())


def test_a_dump_is_the_same_again_and_changes_no_plan(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = small(rng)
    plans = [
        serialize_plan(build(graph, BuildConfig(level=0, threads=2, timing_cache="", dump=folder)))
        for folder in (tmp_path / "a", tmp_path / "b", None)
    ]
    assert plans[0] == plans[1] == plans[2]
    files = sorted((tmp_path / "a").iterdir())
    assert [path.read_bytes() for path in files] == [(tmp_path / "b" / path.name).read_bytes() for path in files]


def test_code_is_written_on_request(tmp_path: Path, rng: np.random.Generator) -> None:
    dumped(small(rng), tmp_path, dump_code=True)
    kernels = sorted(path.name for path in (tmp_path / "kernels").iterdir())
    assert [Path(name).suffix for name in kernels] == [".ll", ".s"] * (len(kernels) // 2)
    assert f"define void @{Path(kernels[0]).stem}(" in (tmp_path / "kernels" / kernels[0]).read_text()
    assert f"{Path(kernels[1]).stem}:" in (tmp_path / "kernels" / kernels[1]).read_text()
    assert "kernels" in dumped(small(rng), tmp_path)
    assert not list((tmp_path / "kernels").iterdir())


def test_an_earlier_dump_is_replaced_and_other_files_are_left_alone(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "dump"
    before = dumped(small(rng), folder)
    after = dumped(small(rng), folder, max_rewrites=0)
    assert after == ["00-imported.txt", "01-regions.txt", "02-choices.txt", "03-program.txt"] != before
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(BuildError, match=r"found 'notes.txt'.*give another folder"):
        dumped(small(rng), folder)
    assert (folder / "notes.txt").read_text() == "mine"
    assert (folder / "00-imported.txt").exists()


def test_any_number_of_rewrites_gives_the_same_results(tmp_path: Path, rng: np.random.Generator) -> None:
    graph = small(rng)
    dumped(graph, tmp_path)
    total = len((tmp_path / "rewrites.txt").read_text().splitlines())
    assert total > 2
    x = rng.standard_normal((3, 4)).astype(np.float32)
    expected = Engine(build(graph, BuildConfig(level=0, threads=1)))(x)["out0"]
    for count in range(total + 1):
        found = Engine(build(graph, BuildConfig(level=0, threads=1, max_rewrites=count)))(x)["out0"]
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_wrong_rewrite_ends_a_checked_build(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = rewrite(Relu)(lambda value: value.inputs[0])
    passes = (*pipeline.PASSES, rules_pass("sabotage", (wrong,)))
    monkeypatch.setattr(pipeline, "PASSES", passes)
    with pytest.raises(BuildError, match="pass sabotage, round 1, changed the results") as raised:
        dumped(small(rng), tmp_path, check_rewrites=True)
    assert all(line.isprintable() for line in str(raised.value).splitlines())
    assert max(path.name for path in tmp_path.glob("*-*.txt")).endswith("after-sabotage.txt")


def test_options_that_mean_nothing_are_refused(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(BuildError, match="dump_code: expected a folder"):
        build(small(rng), BuildConfig(level=0, dump_code=True))
    with pytest.raises(BuildError, match=r"stop_after: expected one of the passes .*fold_constants"):
        build(small(rng), BuildConfig(level=0, stop_after="nonsense"))

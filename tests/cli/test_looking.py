"""Looking at plans in the shell and in a browser, and names that would move a terminal's cursor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

import tensorwright as tw
from tensorwright.api.monitor import ProgressBar
from tensorwright.cli.main import app

HOSTILE = "\x1b]0;title\x07[red]"


def hostile_model(path: Path) -> Path:
    weights = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, 4]) for name in (f"x{HOSTILE}", f"y{HOSTILE}"))
    node = helper.make_node("MatMul", [x.name, "w"], [y.name], name=f"layer{HOSTILE}")
    graph = helper.make_graph([node], f"net{HOSTILE}", [x], [y], [weights])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    engine = tw.build(hostile_model(tmp_path / "hostile.onnx"), level=1, threads=2, timing_cache="")
    engine.save(tmp_path / "hostile.plan")
    return tmp_path / "hostile.plan"


def output_of(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result.output


def test_names_reach_no_terminal_as_they_are(plan: Path, tmp_path: Path) -> None:
    model = tmp_path / "hostile.onnx"
    for command in (["inspect", plan], ["inspect", plan, "-v", "--profile"], ["run", plan], ["inspect", model]):
        text = output_of(*command)
        assert not set("\x1b\x07") & set(text)
        assert r"\x1b]0;title\x07[red]" in text
    build = ["build", model, "-o", tmp_path / "again.plan", "--level", 0, "-v"]
    assert not set("\x1b\x07") & set(output_of(*build))
    assert not set("\x1b\x07") & set(output_of("run", plan, "-i", f"q{HOSTILE}={plan}", code=1))


def test_progress_shows_names_as_text(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    bar = ProgressBar()
    bar.phase("timing", 2)
    bar.step("\x1b]0;title\x07[red]")
    bar._bar.refresh()
    shown = capsys.readouterr().err
    bar.done()
    assert r"\x1b]0;title" in shown
    assert "\x1b]0;" not in shown


def test_the_logger_prints_one_line_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    tw.Logger(tw.Logger.INFO).log(tw.Logger.WARNING, "layer \x1b[2J\rfirst\nsecond")
    assert capsys.readouterr().err == "[tensorwright] WARNING: layer \\x1b[2J\\rfirst\nsecond\n"


@pytest.mark.parametrize("options", [[], ["--profile"], ["--profile", "--threads", "1"]])
def test_a_plan_becomes_a_page(plan: Path, tmp_path: Path, options: list[str]) -> None:
    page = tmp_path / "page.html"
    assert "1 steps; open it in a browser" in output_of("inspect", plan, "--html", page, *options)
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n<html")
    assert ("measured now, in the network" in text) == bool(options)
    assert ("% of roofline" in text) == bool(options)


def test_a_model_is_no_page(tmp_path: Path) -> None:
    model = hostile_model(tmp_path / "hostile.onnx")
    assert "build it first" in output_of("inspect", model, "--html", tmp_path / "page.html", code=1)
    assert not (tmp_path / "page.html").exists()

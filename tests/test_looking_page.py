"""What docs/looking-inside.md shows works as written, with the wrong rewrite that it shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tensorwright as tw
from tensorwright.cli.main import app
from tensorwright.graph.graph import Value
from tensorwright.ops.activation import Relu
from tensorwright.ops.convolution import Convolution
from tensorwright.passes import activations, pipeline
from tensorwright.passes.rewrite import rewrite, rules_pass

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "looking-inside.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "lenet.onnx").write_bytes((ROOT / "demo" / "lenet.onnx").read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shell_commands_run(folder: Path) -> None:
    lines = [line.split("  #")[0].strip() for block in blocks("shell") for line in block.splitlines()]
    assert len(lines) == 9
    for _, *arguments in map(shlex.split, lines):
        fast = ["--level", "0", "--quiet"] if arguments[0] == "build" else []
        result = CliRunner().invoke(app, [*arguments, *fast])
        assert result.exit_code == 0, result.output
    _, graph, *_ = blocks("text")
    assert (folder / "stages" / "00-imported.txt").read_text().startswith(graph)
    assert (folder / "lenet.html").read_text().endswith("</html>\n")


def test_the_wrong_rewrite_is_found(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rule, *program = blocks("python")
    names: dict[str, object] = {"rewrite": rewrite, "Relu": Relu, "Convolution": Convolution, "Value": Value}
    exec(rule, names)
    wrong = rules_pass("recognise_activations", (*activations.RULES, names["relu_of_convolution"]))
    passes = tuple(wrong if step.name == wrong.name else step for step in pipeline.PASSES)
    monkeypatch.setattr(pipeline, "PASSES", passes)
    for block in program:
        exec(block, names)
    shown = capsys.readouterr().out
    assert shown == "".join(blocks("text")[2:])


def test_without_it_the_network_is_right(folder: Path) -> None:
    names: dict[str, object] = {}
    exec(blocks("python")[1], names)
    image = np.ones((1, 8, 12, 12), np.float32)
    checked = tw.build(names["network"], level=0, check_rewrites=True, dump="stages", dump_code=True)
    plain = tw.build(names["network"], level=0, max_rewrites=0)
    np.testing.assert_allclose(checked(image)["y"], plain(image)["y"], atol=1e-4)
    assert sorted(path.name for path in (folder / "stages").iterdir()) == sorted(blocks("text")[0].split())

"""What docs/importing.md shows works as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import tensorwright as tw
from compat.lenet import DIGITS, frozen_lenet, image, label
from tensorwright.cli.main import app
from tensorwright.compat.uff.command import main
from uff_models import ModelMaker

TEXT = (Path(__file__).parent.parent / "docs" / "importing.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def in_haste(source: str) -> str:
    """A program that times no kernels and closes its files."""
    changed = source.replace("tw.build(", "tw.build(level=0, source=").replace("(network)", "(network, quick)")
    return changed.replace("open(", "Path(").replace(', "rb").read()', ").read_bytes()")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "lenet.pb").write_bytes(frozen_lenet())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_shell_commands_run(folder: Path) -> None:
    lines = [line.split("  #")[0].strip() for block in blocks("shell") for line in block.splitlines()]
    assert len(lines) == 6
    for command, *arguments in map(shlex.split, lines):
        if command == "convert-to-uff":
            assert main(arguments) == 0
            continue
        fast = ["--level", "0", "--quiet"] if arguments[0] == "build" else []
        result = CliRunner().invoke(app, [*arguments, *fast])
        assert result.exit_code == 0, result.output
    assert {file.name for file in folder.iterdir()} >= {"lenet.plan", "lenet.uff", "lenet.pbtxt"}
    found = tw.load("lenet.plan")({"Placeholder": np.stack([image(file)[0, ..., None] for file in DIGITS[:4]])})
    assert found["fc2/Relu"].argmax(1).tolist() == [label(file) for file in DIGITS[:4]]


def test_python_blocks_run(folder: Path) -> None:
    quick = tw.Builder().create_builder_config()
    quick.builder_optimization_level = 0
    names: dict[str, object] = {"Path": Path, "quick": quick}
    exec(in_haste("\n".join(blocks("python"))), names)  # The blocks are one program.
    model = ModelMaker()
    model.input((-1, 4))
    model.output(model.node("_Swish_TRT", "x", name="y"))
    parser, builder = tw.UffParser(), tw.Builder()
    parser.register_plugin("Swish_TRT", names["Swish"]())
    parser.register_input("x", (4,), tw.UffInputOrder.NC)
    network = builder.create_network()
    assert parser.parse_buffer(model.serialized(), network), parser.get_error(0)
    x = np.array([[1, -2, 3, -4]], np.float32)
    np.testing.assert_allclose(builder.build_engine(network, quick)({"x": x})["y"], x / (1 + np.exp(-x)), rtol=1e-5)

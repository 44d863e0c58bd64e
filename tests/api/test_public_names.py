from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tensorwright as tw


def test_every_public_name_can_be_imported():
    for name in tw.__all__:
        assert getattr(tw, name) is not None
    assert set(tw.__all__) <= set(dir(tw))


def test_the_stub_names_what_the_module_has():
    tree = ast.parse(Path(tw.__file__).with_suffix(".pyi").read_text())
    imported = {
        alias.asname: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname
    }
    renamed = {target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets}
    renamed |= {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    assert imported == {name: origin for name, origin in tw._WHERE.items() if name not in tw._RENAMED}
    assert renamed == {"__version__", *tw._RENAMED}
    assert tw.float32 == tw.DType("float32", 4, "float")


def test_build_is_the_function_though_a_part_of_the_package_has_the_name():
    check = (
        "import tensorwright as tw, tensorwright.build.config\n"
        "print(tw.build.__module__, tensorwright.build.__name__)\n"
        "from tensorwright.build import build\n"
        "print(build.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["tensorwright.api.shortcuts", "build", "tensorwright.build.build"]


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = tw.nonsense


@pytest.mark.parametrize(
    "statement",
    ["import tensorwright", "import tensorwright; tensorwright.load, tensorwright.float32, tensorwright.Stream"],
)
def test_neither_the_package_nor_load_needs_the_compiler(statement):
    check = (
        f"{statement}\nimport sys\n"
        "floors = {name.split('.')[1] for name in sys.modules if name.startswith('tensorwright.')}\n"
        "heavy = {'llvmlite', 'onnx', 'rich', 'typer'} & set(sys.modules)\n"
        "print(sorted(floors - {'runtime', 'devices', 'plan', 'tensor', 'base'}), sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_building_by_hand_does_not_import_onnx():
    check = (
        "import sys, tensorwright as tw\n"
        "network = tw.Builder().create_network()\n"
        "x = network.add_input('x', tw.float32, (3, 4, 4))\n"
        "network.mark_output(network.add_softmax(x).get_output(0))\n"
        "network.to_graph()\n"
        "print('onnx' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"

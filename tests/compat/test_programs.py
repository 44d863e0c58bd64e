"""Whole programs, as people wrote them, run by ``python -m tensorwright.compat``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import caffe_models
from compat.lenet import DIGITS, frozen_lenet, label

PROGRAMS = Path(__file__).parent / "programs"


def run(timings, *arguments: object, path: str = "", **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tensorwright.compat", *map(str, arguments)]
    paths = [path, *(str(Path(part).resolve()) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part)]
    environment = {"XDG_CACHE_HOME": str(timings), "PATH": "", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, **options)


def test_from_a_frozen_graph_to_predictions(timings, tmp_path):
    frozen = tmp_path / "lenet.pb"
    frozen.write_bytes(frozen_lenet())
    done = run(timings, "--force", PROGRAMS / "classify_frozen_graph.py", frozen, *DIGITS)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("|     ")]
    found = [tuple(int(cell) for cell in line.strip("|").split("|")) for line in lines]
    assert [expected for expected, _ in found] == [label(file) for file in DIGITS]
    assert [digit for _, digit in found] == [label(file) for file in DIGITS]


@pytest.fixture
def caffe_files(tmp_path, rng):
    """A convolution with ReLU in place, a fully connected layer and softmax; what they compute for given images."""
    text = caffe_models.definition(
        caffe_models.layer(
            "Convolution", "convolution_param { num_output: 5 kernel_size: 3 }", tops="conv", name="conv"
        )
        + caffe_models.layer("ReLU", bottoms="conv", tops="conv", name="relu")
        + caffe_models.layer(
            "InnerProduct", "inner_product_param { num_output: 4 }", bottoms="conv", tops="ip", name="ip"
        )
        + caffe_models.layer("Softmax", bottoms="ip", tops="prob", name="prob"),
        data=(1, 3, 6, 6),
    )
    shapes = {"conv": [(5, 3, 3, 3), (5,)], "ip": [(4, 80), (4,)]}
    blobs = {
        name: [rng.standard_normal(shape).astype(np.float32) / 4 for shape in kinds] for name, kinds in shapes.items()
    }
    deploy, model = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    deploy.write_bytes(text)
    model.write_bytes(caffe_models.model(blobs))
    return deploy, model, caffe_models.imported(text, blobs)


def test_from_a_caffe_model_through_a_file_to_outputs(timings, tmp_path, caffe_files):
    deploy, model, network = caffe_files
    plan = tmp_path / "net.engine"
    done = run(timings, "--force", PROGRAMS / "classify_caffe_model.py", deploy, model, plan)
    assert done.returncode == 0, done.stdout + done.stderr
    *times, output = done.stdout.splitlines()
    assert times[-1].startswith("all layers")
    assert len(times) >= 3
    assert all(line.endswith(" ms") for line in times)
    found = np.array(output.split()[1:], np.float64).reshape(2, 4)
    images = np.random.RandomState(0).rand(2, 3, 6, 6).astype(np.float32)
    expected = [caffe_models.outputs_of(network, data=image[None])["prob"].ravel() for image in images]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_script_finds_its_arguments_and_its_folder(timings, tmp_path):
    (tmp_path / "beside.py").write_text("NAME = 'beside'\n")
    script = tmp_path / "script.py"
    script.write_text(
        "import sys, beside\nimport tensorrt as trt\n"
        "print(__name__, sys.argv[1:], sys.argv[0] == __file__, beside.NAME, trt.infer.Dims(2, 3))\n"
    )
    done = run(timings, "--force", script, "--an-option", "value", "-m")
    assert done.stdout == "__main__ ['--an-option', 'value', '-m'] True beside Dims(2, 3)\n", done.stderr


def test_a_module_can_be_run_too(timings, tmp_path):
    (tmp_path / "program.py").write_text("import sys, uff\nprint(__name__, sys.argv[1:], uff.__version__)\n")
    done = run(timings, "--force", "-m", "program", "argument", cwd=tmp_path)
    assert done.stdout.startswith("__main__ ['argument'] 0."), done.stderr


def test_the_exit_status_is_the_scripts(timings, tmp_path):
    (tmp_path / "script.py").write_text("raise SystemExit(7)\n")
    assert run(timings, tmp_path / "script.py").returncode == 7


def test_a_missing_script_is_an_error(timings, tmp_path):
    done = run(timings, tmp_path / "nowhere.py")
    assert done.returncode == 2
    assert "there is no script" in done.stderr

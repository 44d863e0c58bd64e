"""The runtime runs plans where neither LLVM nor onnx can be imported, and loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

import native_plans
from tensorwright.runtime.engine import Engine

PROGRAM = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("llvmlite", "onnx", "google", "rich", "typer"):
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocker())
try:
    import llvmlite
except ImportError:
    pass
else:
    raise SystemExit("the blocker does not block")

import numpy as np
import tensorwright
from tensorwright.runtime.load import load

plan, x, y = sys.argv[1:]
np.save(y, load(plan, threads=2)(np.load(x))["y"])
floors = {name.split(".")[1] for name in sys.modules if name.startswith("tensorwright.")}
assert floors == {"runtime", "devices", "plan", "tensor", "base"}, floors
"""


def test_a_plan_runs_without_the_compiler(rng, tmp_path):
    paths = [str(tmp_path / name) for name in ("a.plan", "x.npy", "y.npy")]
    Engine(native_plans.plan()).save(paths[0])
    x = rng.standard_normal((5, native_plans.WIDTH), np.float32)
    np.save(paths[1], x)
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, *paths], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    np.testing.assert_array_equal(np.load(paths[2]), native_plans.expected(x))


PENDING = """
import sys, threading, time
import numpy as np
from tensorwright.devices.cpu.stream import CpuStream
from tensorwright.runtime.load import load

context = load(sys.argv[1], threads=2).create_execution_context()
x, y = np.ones((2, 4), np.float32), np.zeros((2, 4), np.float32)
context.execute(2, [x.ctypes.data, y.ctypes.data])
y[:] = 0
team = [thread for thread in threading.enumerate() if "team" in thread.name]
stream = CpuStream()
stream.enqueue(lambda: time.sleep(0.2))
for _ in range(10):
    context.enqueue(2, [x.ctypes.data, y.ctypes.data], stream)
stream.enqueue(lambda: print(y[0], len(team), team[0].is_alive(), flush=True))
"""


def test_a_program_that_ends_finishes_its_streams(tmp_path):
    path = tmp_path / "a.plan"
    Engine(native_plans.plan()).save(path)
    command = [sys.executable, "-c", PENDING, str(path)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == f"{native_plans.expected(np.ones((2, 4), np.float32))[0]} 1 True"

"""PyTorch on the same networks, in CUDA graphs: ``python -m benchmarks.gpu.peers resnet50:1:f16 … --json FILE``.

Networks are compiled by `torch.compile` with freezing, in its default mode or with --autotune in "max-autotune", one
process for each, and timed one after another when all are compiled and, if it is given, the file that --after names is
there: so that nothing else uses the GPU then. Those that are not compiled after --patience seconds, or when the file
that --until names is there, are left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections import deque
from collections.abc import Callable
from math import ceil
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from benchmarks.gpu.beside import READY

ROUNDS, FEWEST = 100, 7
SECONDS = 0.5
"""What one figure may take."""
AHEAD, AHEAD_SECONDS = 3, 1e-3
"""At least so many replays, and for so long, keep the GPU busy while the host enqueues what is timed."""
MOST_SECONDS = 60
TYPES = {"f16": "float16", "f32": "float32", "tf32": "float32"}
TRANSFORMERS = {
    "bert": ("BertModel", "BertConfig", {}),
    "minilm": ("BertModel", "BertConfig", {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}),
    "vit_base": ("ViTForImageClassification", "ViTConfig", {"num_labels": 1000}),
    "convnext_tiny": ("ConvNextForImageClassification", "ConvNextConfig", {"num_labels": 1000}),
}
TORCHVISION = {"resnet18": "resnet18", "resnet50": "resnet50", "mobilenetv2": "mobilenet_v2"}


def model_and_input(name: str, batch: int, type: str) -> tuple[Any, Any]:
    """A model with random weights, channels last where there are images, and one input."""
    import torch
    import torchvision
    import transformers

    dtype = getattr(torch, TYPES[type])
    if name == "lenet":
        return _lenet().eval().cuda().to(dtype), torch.randn(batch, 1, 28, 28, device="cuda", dtype=dtype)
    if name in TORCHVISION:
        model = getattr(torchvision.models, TORCHVISION[name])()
    else:
        network, config, sizes = TRANSFORMERS[name]
        options = {"add_pooling_layer": False} if network == "BertModel" else {}
        model = getattr(transformers, network)(getattr(transformers, config)(**sizes), **options)
    model = model.eval().cuda().to(dtype)
    if name in ("bert", "minilm"):
        hidden = torch.randn(batch, 128, model.config.hidden_size, device="cuda", dtype=dtype)
        return _first(model.encoder), hidden
    image = torch.randn(batch, 3, 224, 224, device="cuda", dtype=dtype)
    model, image = (what.to(memory_format=torch.channels_last) for what in (model, image))
    return (model if name in TORCHVISION else _first(model)), image


def _lenet() -> Any:
    from torch import nn

    layers = [nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10), nn.Softmax(1))


def _first(model: Any) -> Any:
    """The model with the first of its outputs alone."""
    import torch

    class First(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, x: Any) -> Any:
            return self.model(x)[0]

    return First()


def recorded(run: Callable[[], object]) -> Any:
    """A CUDA graph of a call."""
    import torch

    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph


def replayed(graph: Any) -> float:
    """The median of microseconds of a replay that is enqueued while others keep the GPU busy, as ours is."""
    import torch

    graph.replay()
    torch.cuda.synchronize()
    began = time.perf_counter()
    graph.replay()
    torch.cuda.synchronize()
    ahead = max(AHEAD, ceil(AHEAD_SECONDS / (time.perf_counter() - began)))
    began, times = time.perf_counter(), []
    while len(times) < ROUNDS and (len(times) < FEWEST or time.perf_counter() - began < SECONDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        for _ in range(ahead):
            graph.replay()
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return statistics.median(times)


def serve(item: str, autotune: bool, pipe: Connection) -> None:
    """Compile a network, say how long it took, and time it when asked to."""
    import torch

    name, batch, type = item.split(":")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = type == "tf32"
    began = time.time()
    with torch.inference_mode():
        model, given = model_and_input(name, int(batch), type)
        eager = recorded(lambda: model(given))
    torch._inductor.config.freezing = True
    with torch.no_grad():
        compiled = torch.compile(model, mode="max-autotune-no-cudagraphs" if autotune else "default")
        inductor = recorded(lambda: compiled(given))
    pipe.send(time.time() - began)
    pipe.recv()
    pipe.send({"network": item, "eager_us": replayed(eager), "inductor_us": replayed(inductor), "autotune": autotune})


class Compiling:
    """Processes that compile a network each, some at a time."""

    def __init__(self, items: list[str], at_once: int, autotune: bool) -> None:
        self._waiting, self._at_once, self._autotune = deque(items), at_once, autotune
        self._at_work: dict[Connection, tuple[str, Any]] = {}

    def until(self, file: Path | None, end: float) -> dict[str, tuple[Connection, float]]:
        """Wait for all, until a file comes or a time; the ways to those that have compiled, and how long that took."""
        done = {}
        while (self._waiting or self._at_work) and time.time() < end and not (file is not None and file.exists()):
            while self._waiting and len(self._at_work) < self._at_once:
                self._start(self._waiting.popleft())
            for pipe in wait(list(self._at_work), 0.2):
                item, _ = self._at_work.pop(pipe)
                try:
                    done[item] = pipe, pipe.recv()
                    print(f"{item}: compiled", flush=True)
                except EOFError:
                    print(f"{item}: PyTorch failed", flush=True)
        for item, process in self._at_work.values():
            print(f"{item}: PyTorch is not done", flush=True)
            process.kill()
        return done

    def _start(self, item: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(item, self._autotune, theirs), daemon=True)
        process.start()
        theirs.close()
        self._at_work[ours] = item, process


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+", help="NAME:BATCH:TYPE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--after", type=Path)
    parser.add_argument("--until", type=Path, help="a file at whose coming those are ended that still compile")
    parser.add_argument("--at-once", type=int, default=16, help="how many compile at a time")
    parser.add_argument("--autotune", action="store_true", help="compile with max-autotune")
    parser.add_argument("--patience", type=float, default=600)
    options = parser.parse_args()
    compiled = Compiling(options.networks, options.at_once, options.autotune).until(
        options.until, time.time() + options.patience
    )
    print(f"compiled: { {item: seconds for item, (_, seconds) in compiled.items()} }", flush=True)
    print(READY, flush=True)
    while options.after is not None and not options.after.exists():
        time.sleep(0.1)
    rows = []
    for item, (pipe, seconds) in compiled.items():
        try:
            pipe.send("now")
            if not pipe.poll(MOST_SECONDS):
                raise TimeoutError(f"no answer in {MOST_SECONDS} s")
            rows.append({**pipe.recv(), "compile_seconds": seconds})
            print(json.dumps(rows[-1]), flush=True)
        except (OSError, EOFError) as error:
            print(f"{item}: {error!r}", flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

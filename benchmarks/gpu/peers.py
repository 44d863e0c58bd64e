"""PyTorch on the same networks, in CUDA graphs: ``python -m benchmarks.gpu.peers resnet50:1:f16 … --json FILE``.

Networks are compiled by `torch.compile` with freezing, one process for each, and timed one after another when all are
compiled and, if it is given, the file that --after names is there: so that nothing else uses the GPU then. Those that
are not compiled after --patience seconds are left out.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

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
    """The median of microseconds of a replay."""
    import torch

    times = []
    for _ in range(100):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return statistics.median(times)


def serve(item: str, pipe: Connection) -> None:
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
        compiled = torch.compile(model)
        inductor = recorded(lambda: compiled(given))
    pipe.send(time.time() - began)
    pipe.recv()
    pipe.send({"network": item, "eager_us": replayed(eager), "inductor_us": replayed(inductor)})


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="+", help="NAME:BATCH:TYPE")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--after", type=Path)
    parser.add_argument("--patience", type=float, default=600)
    options = parser.parse_args()
    spawn, pipes = multiprocessing.get_context("spawn"), dict[str, Connection]()
    for item in options.networks:
        pipes[item], theirs = spawn.Pipe()
        spawn.Process(target=serve, args=(item, theirs), daemon=True).start()
        theirs.close()
    end = time.time() + options.patience
    received = {item: _received(item, pipe, end) for item, pipe in pipes.items()}
    compiled = {item: seconds for item, seconds in received.items() if seconds is not None}
    print(f"compiled: {compiled}", flush=True)
    while options.after is not None and not options.after.exists():
        time.sleep(0.1)
    rows = []
    for item, seconds in compiled.items():
        pipes[item].send("now")
        rows.append({**pipes[item].recv(), "compile_seconds": seconds})
        print(json.dumps(rows[-1]), flush=True)
        if options.json:
            options.json.write_text(json.dumps(rows, indent=1))


def _received(item: str, pipe: Connection, end: float) -> Any:
    """What a process has sent by a time; None if it has not."""
    try:
        if pipe.poll(max(0.0, end - time.time())):
            return pipe.recv()
    except EOFError:
        pass
    print(f"{item}: PyTorch failed, or is not done", flush=True)
    return None


if __name__ == "__main__":
    main()

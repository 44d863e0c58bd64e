"""PyTorch on the same networks, in CUDA graphs: ``python -m benchmarks.gpu.peers resnet50:1:f16 … --json FILE``.

Networks are compiled by `torch.compile` with freezing, in its default mode or with --autotune in "max-autotune", and
timed when nothing else uses the GPU (`benchmarks.gpu.waiting`).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Any

from benchmarks.gpu.waiting import Measure, parser, take_part

ROUNDS, FEWEST = 100, 7
SECONDS = 0.5
"""What one figure may take."""
AHEAD, AHEAD_SECONDS = 3, 1e-3
"""At least so many replays, and for so long, keep the GPU busy while the host enqueues what is timed."""
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


@dataclass(frozen=True)
class Recorded:
    """A CUDA graph of a call, and the call, which owns the memory that the graph reads."""

    graph: Any
    run: Callable[[], object]

    def replay(self) -> None:
        self.graph.replay()


def recorded(run: Callable[[], object], stream: Any = None) -> Recorded:
    """A CUDA graph of a call.

    Args:
        run: the call.
        stream: where a foreign library's kernels go, which may take memory while it is recorded. The graph can be
            looked at then.
    """
    import torch

    foreign = stream is not None
    with torch.cuda.stream(stream if foreign else torch.cuda.Stream()):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph(keep_graph=foreign)
    with torch.cuda.graph(graph, stream=stream, capture_error_mode="relaxed" if foreign else "global"):
        run()
    return Recorded(graph, run)


def timed(enqueue: Callable[[], object]) -> float:
    """The median of microseconds of an inference that is enqueued while others keep the GPU busy, as ours is."""
    import torch

    enqueue()
    torch.cuda.synchronize()
    began = time.perf_counter()
    enqueue()
    torch.cuda.synchronize()
    ahead = max(AHEAD, ceil(AHEAD_SECONDS / (time.perf_counter() - began)))
    began, times = time.perf_counter(), []
    while len(times) < ROUNDS and (len(times) < FEWEST or time.perf_counter() - began < SECONDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        for _ in range(ahead):
            enqueue()
        start.record()
        enqueue()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return statistics.median(times)


def prepared(item: str, *, autotune: bool) -> Measure:
    """Compile a network; what times it, eager and compiled."""
    import torch

    name, batch, type = item.split(":")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = type == "tf32"
    with torch.inference_mode():
        model, given = model_and_input(name, int(batch), type)
        eager = recorded(lambda: model(given))
    torch._inductor.config.freezing = True
    with torch.no_grad():
        compiled = torch.compile(model, mode="max-autotune-no-cudagraphs" if autotune else "default")
        inductor = recorded(lambda: compiled(given))
    return lambda: {
        "eager_us": timed(eager.replay),
        "inductor_us": timed(inductor.replay),
        "autotune": autotune,
    }


def main() -> None:
    options = parser()
    options.add_argument("--autotune", action="store_true", help="compile with max-autotune")
    given = options.parse_args()
    take_part(given, partial(prepared, autotune=given.autotune))


if __name__ == "__main__":
    main()

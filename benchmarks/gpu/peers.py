"""PyTorch on the same networks, in CUDA graphs: ``python -m benchmarks.gpu.peers resnet50:1:f16``."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

TYPES = {"f16": torch.float16, "f32": torch.float32, "tf32": torch.float32}


def model_and_input(name: str, batch: int, dtype: torch.dtype) -> tuple[torch.nn.Module, torch.Tensor]:
    """A model with random weights, channels last where there are images, and one input."""
    if name.startswith("resnet"):
        import torchvision

        model = getattr(torchvision.models, name)().eval().cuda().to(dtype).to(memory_format=torch.channels_last)
        image = torch.randn(batch, 3, 224, 224, device="cuda", dtype=dtype)
        return model, image.to(memory_format=torch.channels_last)
    from transformers import BertConfig, BertModel

    size = {"bert": {}, "minilm": {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}}[name]
    model = BertModel(BertConfig(**size), add_pooling_layer=False).eval().cuda().to(dtype)
    hidden = torch.randn(batch, 128, model.config.hidden_size, device="cuda", dtype=dtype)
    return Encoder(model.encoder), hidden


class Encoder(torch.nn.Module):
    """Hidden states in, hidden states out."""

    def __init__(self, encoder: torch.nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return self.encoder(hidden)[0]


def replayed(run: Callable[[], object]) -> float:
    """The median of microseconds of a replay of a CUDA graph of a call."""
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    times = []
    for _ in range(100):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1e3)
    return statistics.median(times)


def main() -> None:
    for item in sys.argv[1:]:
        name, batch, type = item.split(":")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = type == "tf32"
        with torch.inference_mode():
            model, given = model_and_input(name, int(batch), TYPES[type])
            eager = replayed(lambda: model(given))  # noqa: B023 - called at once
        torch._inductor.config.freezing = True
        began = time.time()
        with torch.no_grad():
            compiled = torch.compile(model)
            inductor = replayed(lambda: compiled(given))  # noqa: B023 - called at once
        print(
            f"{item}: eager {eager:.1f} us, inductor {inductor:.1f} us, compiled in {time.time() - began:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()

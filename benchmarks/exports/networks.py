"""What is exported."""

from __future__ import annotations

from typing import Any

from benchmarks.exports.network import Made, Network, settle
from benchmarks.exports.small import SMALL_NETWORKS


def classifier(name: str) -> Network:
    def make(batch: int) -> Made:
        import torch
        import torchvision

        more = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
        size = 299 if name == "inception_v3" else 224
        module = getattr(torchvision.models, name)(weights=None, **more)
        if name == "vit_b_16":
            torch.nn.init.normal_(module.heads.head.weight, std=0.02)  # All zeros give zeros, whatever comes before.
        settle(module, torch.randn(4, 3, size, size))
        return module, (torch.randn(batch, 3, size, size),)

    return Network(make, ("image",), {"image": {0: "batch"}})


def segmentation(name: str) -> Network:
    def make(batch: int) -> Made:
        import torch
        import torchvision

        class Head(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                models = torchvision.models.segmentation
                self.whole = getattr(models, name)(weights=None, weights_backbone=None)

            def forward(self, image: Any) -> Any:
                return self.whole(image)["out"]

        module = Head()
        settle(module, torch.randn(4, 3, 224, 224))
        return module, (torch.randn(batch, 3, 224, 224),)

    return Network(make, ("image",), {"image": {0: "batch", 2: "height", 3: "width"}})


def detection(name: str, height: int, width: int, **settings: object) -> Network:
    """A detector with statistics and heads that let boxes depend on the image, though its weights are random."""

    def make(_: int) -> Made:
        import torch
        import torchvision

        class Whole(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                models = torchvision.models.detection
                self.whole = getattr(models, name)(weights=None, weights_backbone=None, **settings)

            def forward(self, image: Any) -> Any:
                (found,) = self.whole([image])
                return found["boxes"], found["scores"], found["labels"]

        module, image = Whole(), torch.rand(3, height, width)
        _settle_detector(module, image)
        return module, (image,)

    return Network(make, ("image",), {"image": {1: "height", 2: "width"}}, finds=True)


def _settle_detector(module: Any, image: Any) -> None:
    """Normalise the maps of the backbone, and spread the scores that the heads give."""
    import torch

    settle(module.whole.backbone, torch.stack([image, image.flip(2)]) - 0.5)
    for label, inner in module.named_modules():
        if label.rsplit(".", 1)[-1] in SCORING and hasattr(inner, "weight"):
            torch.nn.init.normal_(inner.weight, std=4 / inner.weight[0].numel() ** 0.5)
    module.eval()


SCORING = ("cls_logits", "cls_score")
"""The layers of torchvision's detectors that score classes."""


def text(model: str, configuration: str, **settings: object) -> Network:
    def make(batch: int) -> Made:
        import torch
        import transformers

        class First(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.whole = getattr(transformers, model)(getattr(transformers, configuration)(**SMALL, **settings))

            def forward(self, ids: Any, mask: Any) -> Any:
                return self.whole(input_ids=ids, attention_mask=mask, return_dict=False)[0]

        return First(), (torch.randint(3, 99, (batch, 12)), torch.ones(batch, 12, dtype=torch.int64))

    open_axes = {0: "batch", 1: "sequence"}
    return Network(make, ("ids", "mask"), {"ids": open_axes, "mask": open_axes})


SMALL = {
    "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96, "vocab_size": 99,
    "max_position_embeddings": 64,
}  # fmt: skip
CLASSIFIERS = (
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "mnasnet1_0",
    "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small", "regnet_x_800mf", "regnet_y_400mf", "resnet18",
    "resnet50", "resnext50_32x4d", "shufflenet_v2_x1_0", "squeezenet1_1", "swin_t", "vgg11_bn", "vit_b_16",
)  # fmt: skip
SEGMENTATIONS = (
    "deeplabv3_mobilenet_v3_large", "deeplabv3_resnet50", "fcn_resnet50", "lraspp_mobilenet_v3_large",
)  # fmt: skip
DETECTIONS = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": (320, 320),
    "fasterrcnn_resnet50_fpn": (480, 640),
    "maskrcnn_resnet50_fpn": (480, 640),
    "retinanet_resnet50_fpn": (480, 640),
    "ssd300_vgg16": (300, 300),
    "ssdlite320_mobilenet_v3_large": (320, 320),
}
"""Detectors of torchvision with the height and the width of the image; they scale it to the size that they want."""
NETWORKS = {
    **{name: classifier(name) for name in CLASSIFIERS},
    **{name: segmentation(name) for name in SEGMENTATIONS},
    **{name: detection(name, *size) for name, size in DETECTIONS.items()},
    "albert": text("AlbertModel", "AlbertConfig", embedding_size=32),
    "bert": text("BertModel", "BertConfig"),
    "deberta": text(
        "DebertaV2Model", "DebertaV2Config", relative_attention=True, pos_att_type=["p2c", "c2p"], position_buckets=16
    ),
    "electra": text("ElectraModel", "ElectraConfig", embedding_size=32),
    "gemma": text("GemmaModel", "GemmaConfig", num_key_value_heads=2, head_dim=16, use_cache=False),
    "llama": text("LlamaModel", "LlamaConfig", num_key_value_heads=2, use_cache=False),
    "mistral": text("MistralModel", "MistralConfig", num_key_value_heads=2, sliding_window=8, use_cache=False),
    "qwen2": text("Qwen2Model", "Qwen2Config", num_key_value_heads=2, use_cache=False),
    **SMALL_NETWORKS,
}

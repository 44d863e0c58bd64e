"""Small networks of other kinds: two texts, images read by transformers, diffusion."""

from __future__ import annotations

from typing import Any

from benchmarks.exports.network import Made, Network, settle

TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 96}
PICTURE = {"image_size": 64, "patch_size": 16}
WIDTHS = (8, 16, 24, 32)
"""Channels of four stages."""


def two_texts(model: str, configuration: str, **settings: object) -> Network:
    """An encoder and a decoder without a cache."""

    def make(batch: int) -> Made:
        import torch
        import transformers

        class First(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                made = getattr(transformers, configuration)(vocab_size=99, use_cache=False, **settings)
                self.whole = getattr(transformers, model)(made)

            def forward(self, ids: Any, target: Any) -> Any:
                return self.whole(input_ids=ids, decoder_input_ids=target, return_dict=False)[0]

        return First(), (torch.randint(3, 99, (batch, 12)), torch.randint(3, 99, (batch, 7)))

    open_axes = {"ids": {0: "batch", 1: "sequence"}, "target": {0: "batch", 1: "width"}}
    return Network(make, ("ids", "target"), open_axes, {"batch": 1, "sequence": -3, "width": 2})


def picture(model: str, configuration: str, size: int = 64, **settings: object) -> Network:
    """A network of images. backbone_config: of what sees them, as a dict, if that is a network of its own."""

    def make(batch: int) -> Made:
        import torch
        import transformers

        class First(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                given = dict(settings)
                if "backbone_config" in given:
                    given["backbone_config"] = transformers.Dinov2Config(**given["backbone_config"])
                self.whole = getattr(transformers, model)(getattr(transformers, configuration)(**given))

            def forward(self, image: Any) -> Any:
                return self.whole(pixel_values=image, return_dict=False)[0]

        module = First()
        settle(module, torch.randn(4, 3, size, size))
        return module, (torch.randn(batch, 3, size, size),)

    return Network(make, ("image",), {"image": {0: "batch"}})


def mamba() -> Network:
    def make(batch: int) -> Made:
        import torch
        import transformers

        class First(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                made = transformers.MambaConfig(vocab_size=99, hidden_size=64, num_hidden_layers=2, state_size=8)
                self.whole = transformers.MambaModel(made)

            def forward(self, ids: Any) -> Any:
                return self.whole(input_ids=ids, use_cache=False, return_dict=False)[0]

        return First(), (torch.randint(3, 99, (batch, 12)),)

    return Network(make, ("ids",), {"ids": {0: "batch", 1: "sequence"}})


def unet() -> Network:
    """The network that removes noise: a map, the time, and what the image should show."""

    def make(batch: int) -> Made:
        import diffusers
        import torch

        class First(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.whole = diffusers.UNet2DConditionModel(
                    sample_size=16, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32,
                    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), attention_head_dim=8, norm_num_groups=8,
                    up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                )  # fmt: skip

            def forward(self, sample: Any, time: Any, context: Any) -> Any:
                return self.whole(sample, time, context, return_dict=False)[0]

        return First(), (torch.randn(batch, 4, 16, 16), torch.tensor([3.0]), torch.randn(batch, 7, 32))

    open_axes = {"sample": MAP, "context": {0: "batch"}}
    return Network(make, ("sample", "time", "context"), open_axes, MAP_STEPS)


def vae_decoder() -> Network:
    def make(batch: int) -> Made:
        import diffusers
        import torch

        class First(torch.nn.Module):  # type: ignore[misc, unused-ignore]
            def __init__(self) -> None:
                super().__init__()
                self.whole = diffusers.AutoencoderKL(
                    block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=8,
                    down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
                )  # fmt: skip

            def forward(self, latent: Any) -> Any:
                return self.whole.decode(latent, return_dict=False)[0]

        return First(), (torch.randn(batch, 4, 16, 16),)

    return Network(make, ("latent",), {"latent": MAP}, MAP_STEPS)


MAP = {0: "batch", 2: "height", 3: "width"}
MAP_STEPS = {"batch": 1, "height": 8, "width": 16}
FEATURES = {**TINY, "num_hidden_layers": 4, "image_size": 56, "patch_size": 14, "out_indices": [1, 2, 3, 4]}
SMALL_NETWORKS = {
    "bart": two_texts(
        "BartModel", "BartConfig", d_model=64, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4,
        decoder_attention_heads=4, encoder_ffn_dim=96, decoder_ffn_dim=96, max_position_embeddings=64,
    ),
    "t5": two_texts("T5Model", "T5Config", d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4),
    "mamba": mamba(),
    "beit": picture("BeitModel", "BeitConfig", use_relative_position_bias=True, **PICTURE, **TINY),
    "clip": picture("CLIPVisionModel", "CLIPVisionConfig", **PICTURE, **TINY),
    "depthanything": picture(
        "DepthAnythingForDepthEstimation", "DepthAnythingConfig", size=56, patch_size=14, reassemble_hidden_size=64,
        neck_hidden_sizes=list(WIDTHS), fusion_hidden_size=16, head_hidden_size=8,
        backbone_config={**FEATURES, "reshape_hidden_states": False},
    ),
    "dinov2": picture("Dinov2Model", "Dinov2Config", **PICTURE, **TINY),
    "mobilevit": picture(
        "MobileViTModel", "MobileViTConfig", image_size=64, hidden_sizes=[24, 32, 40],
        neck_hidden_sizes=[*WIDTHS, 40, 48, 64],
    ),
    "segformer": picture(
        "SegformerForSemanticSegmentation", "SegformerConfig", hidden_sizes=list(WIDTHS), depths=[1, 1, 1, 1],
        decoder_hidden_size=32,
    ),
    "yolos": picture(
        "YolosForObjectDetection", "YolosConfig", **{**PICTURE, "image_size": [64, 64]}, num_detection_tokens=10, **TINY
    ),
    "unet": unet(),
    "vae_decoder": vae_decoder(),
}  # fmt: skip

"""Tiny random models that also take images; their towers are as deep as their text decoders."""

from collections.abc import Callable
from typing import Any

import torch
import transformers as tf
from transformers import PreTrainedModel

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
HEADS = {"head_dim": 8}
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 28,
    "patch_size": 14,
}
BLOCKS = {"depth": 2, "num_heads": 4, "patch_size": 2}
TOKENS = {"image_token_id": 5, "video_token_id": 6, "vision_start_token_id": 7, "vision_end_token_id": 8}
MROPE = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def clip(**changes: Any) -> dict[str, Any]:
    return {"model_type": "clip_vision_model", **TOWER, **changes}


def siglip() -> dict[str, Any]:
    return {"model_type": "siglip_vision_model", **TOWER}


Build = Callable[[int], PreTrainedModel]
VISION: dict[str, Build] = {
    "qwen2-vl": lambda v: tf.Qwen2VLForConditionalGeneration(
        tf.Qwen2VLConfig(
            text_config={"vocab_size": v, **TEXT, "rope_parameters": MROPE},
            vision_config={**BLOCKS, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2},
            **TOKENS,
        )
    ),
    "qwen2.5-vl": lambda v: tf.Qwen2_5_VLForConditionalGeneration(
        tf.Qwen2_5_VLConfig(
            text_config={"vocab_size": v, **TEXT, "rope_parameters": MROPE},
            vision_config={
                **BLOCKS,
                "hidden_size": 32,
                "intermediate_size": 48,
                "out_hidden_size": 32,
                "fullatt_block_indexes": [1],
            },
            **TOKENS,
        )
    ),
    "qwen3-vl": lambda v: tf.Qwen3VLForConditionalGeneration(
        tf.Qwen3VLConfig(
            text_config={"vocab_size": v, **TEXT, **HEADS, "rope_parameters": MROPE},
            vision_config={
                **BLOCKS,
                "hidden_size": 32,
                "intermediate_size": 48,
                "out_hidden_size": 32,
                "deepstack_visual_indexes": [0],
            },
            **TOKENS,
        )
    ),
    "mistral3": lambda v: tf.Mistral3ForConditionalGeneration(
        tf.Mistral3Config(
            text_config={"model_type": "mistral", "vocab_size": v, **TEXT, **HEADS, "sliding_window": 12},
            vision_config={"model_type": "pixtral", **TOWER, **HEADS},
            image_token_index=5,
        )
    ),
    "llava": lambda v: tf.LlavaForConditionalGeneration(
        tf.LlavaConfig(
            text_config={"model_type": "llama", "vocab_size": v, **TEXT}, vision_config=clip(), image_token_index=5
        )
    ),
    "smolvlm": lambda v: tf.SmolVLMForConditionalGeneration(
        tf.SmolVLMConfig(
            text_config={"model_type": "llama", "vocab_size": v, **TEXT}, vision_config=TOWER, image_token_id=5
        )
    ),
    "internvl": lambda v: tf.InternVLForConditionalGeneration(
        tf.InternVLConfig(
            text_config={"model_type": "qwen2", "vocab_size": v, **TEXT},
            vision_config={**TOWER, "image_size": [28, 28], "patch_size": [14, 14]},
            image_token_id=5,
        )
    ),
    "aya-vision": lambda v: tf.AyaVisionForConditionalGeneration(
        tf.AyaVisionConfig(
            text_config={"model_type": "cohere2", "vocab_size": v, **TEXT, "sliding_window": 12, "logit_scale": 0.25},
            vision_config=siglip(),
            image_token_index=5,
        )
    ),
    "gemma3": lambda v: tf.Gemma3ForConditionalGeneration(
        tf.Gemma3Config(
            text_config={
                "vocab_size": v,
                **TEXT,
                **HEADS,
                "sliding_window": 12,
                "layer_types": ["sliding_attention", "full_attention"],
            },
            vision_config=siglip(),
            image_token_index=5,
            boi_token_index=6,
            eoi_token_index=7,
        )
    ),
    "llama4": lambda v: tf.Llama4ForConditionalGeneration(
        tf.Llama4Config(
            text_config={
                "vocab_size": v,
                **TEXT,
                **HEADS,
                "intermediate_size_mlp": 40,
                "num_local_experts": 3,
                "interleave_moe_layer_step": 2,
            },
            vision_config={
                **TOWER,
                "vision_output_dim": 32,
                "projector_input_dim": 32,
                "projector_output_dim": 32,
                "pixel_shuffle_ratio": 0.5,
            },
            image_token_index=5,
        )
    ),
    "git": lambda v: tf.GitForCausalLM(
        tf.GitConfig(
            vocab_size=v,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            vision_config=TOWER,
            bos_token_id=0,
            eos_token_id=1,
        )
    ),
    "got-ocr2": lambda v: tf.GotOcr2ForConditionalGeneration(
        tf.GotOcr2Config(
            text_config={"model_type": "qwen2", "vocab_size": v, **TEXT},
            vision_config={
                "hidden_size": 32,
                "mlp_dim": 48,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "output_channels": 8,
                "image_size": 32,
                "global_attn_indexes": [1],
            },
            image_token_id=5,
        )
    ),
}
PACKED = sorted(VISION.keys() - {"llama4", "git"})
"""Those that the packed pass fits."""


def build_vision_model(kind: str, vocabulary: int = 61) -> PreTrainedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = VISION[kind](vocabulary).requires_grad_(False).eval()
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape)
            parameter.copy_(noise * 0.2 if parameter.ndim > 1 else parameter + noise * 0.1)
    return model

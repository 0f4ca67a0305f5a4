"""A tiny random model of any type that transformers registers.

Every integer of its configuration is made small by what its name says, and what a checkpoint may switch on is on:
grouped heads, windows shorter than the pairs, soft caps, scales, biases, more experts than a token takes. `OVERRIDES`
has what a type needs beyond that.
"""

import dataclasses
import re
from typing import Any

import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, AutoModelForImageTextToText, PreTrainedModel
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

VOCABULARY, FIRST, PAST = 96, 4, 70  # ids of text are FIRST to PAST; those of images and the like come after them
WINDOW = 6  # shorter than most of the pairs
CAUSAL = tuple(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
IMAGE_TEXT = tuple(name for name in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES if name not in CAUSAL)
REGISTRIES = {"causal language models": CAUSAL, "images and text": IMAGE_TEXT}
WHOLE_NUMBERS: tuple[tuple[str, Any], ...] = (
    ("pad_token_id", 0),
    ("bos_token_id", 1),
    ("eos_token_id", 2),
    ("type_vocab_size|.*task_type_vocab_size", 2),
    (".*vocab_size.*|.*_vocab|num_embeddings", VOCABULARY),
    ("(max_position_embeddings|n_positions|n_ctx|max_seq_len|context_length|max_target_positions)", 256),
    ("original_max_position_embeddings", 128),
    ("(num_key_value|num_kv|swa_num_key_value|kv_n|indexer_kv)_heads", 2),
    ("linear_num_key_heads", 2),
    ("mamba_(n|num)_heads|n_mamba_heads", 8),
    (".*attention_heads|.*n_heads|n_head|.*num_heads|linear_num_value_heads|resampler_n?_?heads", 4),
    ("qk_rope_head_dim|rotary_dim", 4),
    ("v_head_dim", 6),
    ("qk_head_dim", None),
    (".*head_dim|dim_head|d_head|kv_channels|d_kv|attention_head_size|resampler_dim_head", 8),
    ("(num_hidden|num|n|decoder|encoder|num_decoder|num_encoder)_layers?|layers|num_blocks", 4),
    (".*(experts_per_tok|moe_topk|moe_top_k|moe_k|top_k_experts)", 2),
    (".*shared_experts|num_shared_experts", 1),
    ("num_experts|num_local_experts|n_routed_experts|moe_num_experts", 6),
    ("zero_expert_num", 2),
    ("n_group", 2),
    ("topk_group", 1),
    (".*(sliding_window|sliding_window_size|window_size|window_len|attention_window_size|local_attention)", WINDOW),
    ("attention_chunk_size", 8),
    (".*chunk_size(?!_).*|.*chunk_length", 8),
    ("sliding_window_pattern|global_attn_every_n_layers|layer_group_size|no_rope_layer_interval", 2),
    ("first_k_dense_replace|num_dense_layers|num_nextn_predict_layers|num_mtp_layers", 1),
    ("max_window_layers", 2),
    ("index_topk|indexer_budget", 8),
    (".*(_rank|lowrank)", 8),
    (".*(d_state|state_size)", 8),
    ("(mamba_)?n_?groups|mamba_ngroups", 1),
    (".*intermediate_size.*|.*ffn_dim|.*ffn_hidden_size|n_inner|d_inner|d_ff|dff|dim_ff|feed_forward_size|"
     "dense_intermediate_size|share_expert_dim|moe_hidden_size", 48),
    (".*hidden_size.*|d_model|n_embd|.*emb(ed)?(ding)?_dim|embedding_size|.*embedding_size|lru_width|projection_dim|"
     "out_hidden_size|adapter_(in|out)_dim|adapter_input_size|word_embed_proj_dim|mamba_d_ssm", 32),
)  # fmt: skip
GIVEN = ("num_key_value_heads", "sliding_window", "pad_token_id")  # also where the default is None
FRACTIONS: tuple[tuple[str, float], ...] = (
    (".*(softcap|softcapping|soft_cap)", 3.0),
    ("clip_qkv", 0.5),
    ("attention_multiplier|logit_scale", 0.25),
    ("logits_scaling", 4.0),
    ("embedding_multiplier", 3.0),
    ("residual_multiplier", 0.5),
    (".*_multiplier|.*scaling_factor|route_scale", 1.5),
)
SWITCHES = ".*bias|use_qk_norm|qk_layernorm|qk_ln|use_sliding_window|norm_topk_prob"
NOT_SWITCHES = "no_bias|.*expert_bias"
ROTARY_SECTIONS = {
    "rope_parameters": {
        "rope_type": "default",
        "rope_theta": 10_000.0,
        "partial_rotary_factor": 1.0,
        "mrope_section": [2, 1, 1],
    }
}
ALTERNATING = ["linear_attention", "full_attention"] * 2
OVERRIDES: dict[str, dict[str, Any]] = {
    "bamba": {"attn_layer_indices": [1, 3]},
    "chameleon": {"vocabulary_map": {"<image>": PAST}},
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            "full_attention": {"rope_type": "default", "rope_theta": 10_000.0},
        },
    },
    "cosmos3_edge_text": ROTARY_SECTIONS,
    "dbrx": {"attn_config.rope_theta": 10_000.0, "ffn_config.hidden_size": 32},
    "deepseek_ocr2_text": {"num_experts_per_tok": 2, "mlp_layer_types": ["dense", *["sparse"] * 3]},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "diffusion_gemma_text": {"moe_intermediate_size": 24, "num_experts": 6, "top_k_experts": 2},
    "dots1": {"num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_routed_experts": 6, "n_shared_experts": 1},
    "dots3_note": {"vision_config.num_hidden_layers": 42, "vision_config.mlp_bias": False},
    "dots3_note_text": {
        "swa_num_attention_heads": 4,
        "swa_num_key_value_heads": 4,
        "swa_q_lora_rank": 8,
        "swa_kv_lora_rank": 8,
        "swa_head_dim": 12,
        "swa_qk_nope_head_dim": 8,
        "swa_v_head_dim": 6,
    },
    "ernie4_5_vl_moe_text": {
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [1, 1, 2]}
    },
    "gemma3n_text": {"num_kv_shared_layers": 1, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "glm4v_moe_text": ROTARY_SECTIONS,
    "glm4v_text": ROTARY_SECTIONS,
    "glm5_next_text": {"index_kpool": 2, "qk_rope_head_dim": 0},
    "glm_ocr_text": ROTARY_SECTIONS,
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granite4_vision": {
        "text_config.hidden_size": 64,
        "vision_config.hidden_size": 64,
        "deepstack_layer_map": [[0, 0], [1, 1]],
        "downsample_rate": "1/2",
        "spatial_target_layers": [2],
    },
    "granitemoehybrid": {"layer_types": ALTERNATING},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "hunyuan_vl_text": {"head_dim": 8} | ROTARY_SECTIONS,
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "kimi_linear": {"layer_types": ALTERNATING},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"head_dim": 4},
    "mamba2": {"num_heads": 8},
    "ministral": {"head_dim": 8},
    "molmo2": {"adapter_config.vision_feature_layer": [3, 1]},
    "nemotron_h_omni": {"vision_config.video_temporal_patch_size": 2},
    "paddleocr_vl_text": ROTARY_SECTIONS,
    "qwen2_5_omni_text": ROTARY_SECTIONS,
    "qwen2_5_vl_text": ROTARY_SECTIONS,
    "qwen2_vl_text": ROTARY_SECTIONS,
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
        "ple_layer_ids": [1],
        "eos_token_id": 2,
        "ngram_vocab_size_base": 100,
        "heads_per_ngram": 2,
        "split_ngram_parts": 1,
    },
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "lsh", "local"],
        "axial_pos_shape": [16, 16],
        "axial_pos_embds_dim": [8, 24],
        "num_buckets": 4,
        "hash_seed": 0,
    },
    "xlstm": {"num_heads": 4, "chunk_size": 16},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "attention_head_dim": 16,
        "attention_hidden_size": 64,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_key_value_heads": 4,
        "n_mamba_heads": 2,
        "use_mamba_kernels": False,
    },
    "zamba2": {
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "num_key_value_heads": 4,
        "use_mamba_kernels": False,
        "use_shared_attention_adapter": True,
        "use_mem_rope": True,
    },
    "zaya": {"num_experts_per_tok": 1},
}
NOT_ALONE = {
    **dict.fromkeys(
        ("gemma4_assistant", "gemma4_unified_assistant"), "it drafts for another model, whose keys and values it reads"
    ),
    **dict.fromkeys(
        ("musicgen", "musicgen_melody"), "its decoder writes audio codes, by what an encoder makes of a text"
    ),
}


def of_name(rules: tuple[tuple[str, Any], ...], name: str) -> list[Any]:
    """The first rule's value, or none."""
    return [value for pattern, value in rules if re.fullmatch(pattern, name)][:1]


def shrunk(config_class: type, overrides: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a configuration for which a model is tiny."""
    found: dict[str, Any] = {}
    num_images = 0
    names = {field.name for field in dataclasses.fields(config_class)}
    if "kv_lora_rank" in names:
        overrides = {"num_key_value_heads": 4} | overrides  # of latent attention
    for field in dataclasses.fields(config_class):
        name, value, kind = field.name, field.default, str(field.type)
        if name in overrides:
            continue
        if re.search(r"(token|image|video|audio|start|end)_(id|index)$", name) and not of_name(WHOLE_NUMBERS, name):
            if value is not None:
                found[name], num_images = PAST + num_images, num_images + 1
        elif isinstance(value, bool) or kind == "bool | None":
            if re.fullmatch(SWITCHES, name) and not re.fullmatch(NOT_SWITCHES, name):
                found[name] = True
        elif "int" in kind and (new := of_name(WHOLE_NUMBERS, name)):
            if isinstance(value, int) or (value is None and name in GIVEN):
                found[name] = new[0]
        elif "float" in kind and (new := of_name(FRACTIONS, name)):
            found[name] = new[0]
    return found | overrides


def make_config(config_class: Any, overrides: dict[str, Any]) -> Any:
    """A tiny configuration, and tiny ones inside it; an override `a.b` is b of the part a."""
    own = {key: value for key, value in overrides.items() if "." not in key}
    arguments = shrunk(config_class, own)
    part_class: Any
    for part, part_class in config_class.sub_configs.items():
        if part in own:
            continue
        if part_class.__name__ == "AutoConfig":
            default = config_class.sub_configs_defaults.get(part)
            part_class = type(getattr(config_class(), part)) if default is None else CONFIG_MAPPING[default.model_type]
        if dataclasses.is_dataclass(part_class):
            of_part = {key.partition(".")[2]: value for key, value in overrides.items() if key.startswith(f"{part}.")}
            arguments[part] = make_config(part_class, OVERRIDES.get(part_class.model_type, {}) | of_part)
    return config_class(**arguments)


def build(kind: str) -> tuple[PreTrainedModel, Any]:
    """A model, frozen, in float32, with weights that bfloat16 holds, too; and the configuration of its checkpoint."""
    if kind in NOT_ALONE:
        raise ValueError(NOT_ALONE[kind])
    config = make_config(CONFIG_MAPPING[kind], OVERRIDES.get(kind, {}))
    auto = AutoModelForCausalLM if kind in CAUSAL else AutoModelForImageTextToText
    torch.manual_seed(0)
    model: PreTrainedModel = auto.from_config(config).float().requires_grad_(False).eval()
    for parameter in model.parameters():  # far enough from the usual start that no gradient is nearly zero
        noise = torch.randn(parameter.shape)
        noise = noise * 0.2 if parameter.ndim > 1 else parameter + noise * 0.1
        parameter.copy_(noise.bfloat16())
    model.config.get_text_config().use_cache = False
    config.architectures = [type(model).__name__]
    return model, config

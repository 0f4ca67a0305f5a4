"""GGUF weights and metadata to a Hugging Face config and state dict, for the two architectures that packages ship.

The `gguf` package unpacks the blocks; what is left is to undo the changes that llama.cpp's converter made: other
names, the rotary halves of Llama's q and k interleaved, and Gemma's norm weights stored with 1 added.
Weights: `convert_hf_to_gguf.py` of https://github.com/ggml-org/llama.cpp, read backwards.
"""

import re
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader, dequantize
from transformers import Gemma3TextConfig, LlamaConfig, PreTrainedConfig

LINEAR_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NORM_NAMES = {
    "llama": {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"},
    "gemma3": {
        "attn_norm": "input_layernorm",
        "attn_q_norm": "self_attn.q_norm",
        "attn_k_norm": "self_attn.k_norm",
        "post_attention_norm": "post_attention_layernorm",
        "ffn_norm": "pre_feedforward_layernorm",
        "post_ffw_norm": "post_feedforward_layernorm",
    },
}
TOP_NAMES = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}


def model_config(reader: GGUFReader) -> PreTrainedConfig:
    """The Hugging Face config of a `llama` or `gemma3` GGUF with tied embeddings, weights in bfloat16."""
    architecture = metadata(reader, "general.architecture")

    def field(key: str) -> Any:
        return metadata(reader, f"{architecture}.{key}")

    common = {
        "vocab_size": len(reader.fields["tokenizer.ggml.tokens"].data),
        "hidden_size": field("embedding_length"),
        "intermediate_size": field("feed_forward_length"),
        "num_hidden_layers": field("block_count"),
        "num_attention_heads": field("attention.head_count"),
        "num_key_value_heads": field("attention.head_count_kv"),
        "max_position_embeddings": field("context_length"),
        "rms_norm_eps": float(f"{field('attention.layer_norm_rms_epsilon'):.6g}"),  # stored as float32: 9.99e-07
        "bos_token_id": metadata(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": metadata(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": metadata(reader, "tokenizer.ggml.padding_token_id"),
        "tie_word_embeddings": True,
        "dtype": "bfloat16",
    }
    theta = field("rope.freq_base")
    if architecture == "llama":
        rope: dict[str, Any] = {"rope_type": "default", "rope_theta": theta}
        return LlamaConfig(**common, rope_parameters=rope, architectures=["LlamaForCausalLM"])
    assert architecture == "gemma3", architecture
    rope = {
        "full_attention": {"rope_type": "default", "rope_theta": theta},
        "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},  # Gemma 3's constant, not in the file
    }
    return Gemma3TextConfig(
        **common,
        head_dim=field("attention.key_length"),
        query_pre_attn_scalar=field("attention.key_length"),
        sliding_window=field("attention.sliding_window"),
        rope_parameters=rope,
        architectures=["Gemma3ForCausalLM"],
    )


def state_dict(reader: GGUFReader, config: PreTrainedConfig) -> dict[str, torch.Tensor]:
    """The weights under their Hugging Face names, dequantised in float32 and rounded once to bfloat16."""
    architecture = metadata(reader, "general.architecture")
    weights = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type)
        weight = torch.from_numpy(np.require(values, requirements="W"))  # float32 tensors are views of the mapped file
        if architecture == "llama" and ".attn_q." in tensor.name:
            weight = rotary_halves(weight, config.num_attention_heads)
        elif architecture == "llama" and ".attn_k." in tensor.name:
            weight = rotary_halves(weight, config.num_key_value_heads)
        elif architecture == "gemma3" and tensor.name.endswith("norm.weight"):
            weight = weight - 1  # Gemma multiplies by 1 + weight; llama.cpp by its stored weight
        weights[hugging_face_name(tensor.name, architecture)] = weight.to(torch.bfloat16).contiguous()
    return weights


def hugging_face_name(name: str, architecture: str) -> str:
    if name in TOP_NAMES:
        return TOP_NAMES[name]
    match = re.fullmatch(r"blk\.(\d+)\.(\w+)\.weight", name)
    assert match, f"{name}: no tensor of a {architecture} model with tied embeddings"
    return f"model.layers.{match[1]}.{(LINEAR_NAMES | NORM_NAMES[architecture])[match[2]]}.weight"


def rotary_halves(weight: torch.Tensor, num_heads: int) -> torch.Tensor:
    """Rows of each head from llama.cpp's interleaved pairs back to two halves. weight: (heads * head_dim, inputs)."""
    return weight.view(num_heads, -1, 2, weight.shape[1]).transpose(1, 2).reshape(weight.shape)


def metadata(reader: GGUFReader, key: str) -> Any:
    return reader.fields[key].contents()

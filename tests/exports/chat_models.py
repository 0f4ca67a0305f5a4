"""Tokenizers with the chat layouts of Gemma and of Llama 3, and pairs whose text is odd."""

import random
from pathlib import Path
from typing import Any

from tests.exports.rows import assistant, user
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

GEMMA = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}{% else %}"
    "{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + (first if loop.first else '') + message['content'] | trim }}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LAYOUTS: dict[str, tuple[str, list[str]]] = {
    "gemma": (GEMMA, ["<bos>", "<eos>", "<pad>", "<start_of_turn>", "<end_of_turn>"]),
    "llama": (
        LLAMA,
        ["<|begin_of_text|>", "<|eot_id|>", "<|pad|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>"],
    ),
}
WORDS_OF_LLAMA = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
TEXTS = [
    *("user", "model", "assistant", "system", "\n", "\n\n", " ", "a", "turn", "start_of_turn", "header_id", "of", "_"),
    *(
        "<eos>",
        "<end_of_turn>",
        "<bos>",
        "<|eot_id|>",
        "</s>",
        "<image>",
        "{{content}}",
        "{{idx}}",
        "[[dummy_message]]",
    ),
    *(
        "  leading",
        "trailing \n",
        "\nline",
        "tab\t",
        "😀👩‍👩‍👧",
        "שלום עולם",
        "مرحبا\u200c",
        "汉字和假名",
        "e\u0301",
        "ﷺ",
    ),
    *(
        "The model answers the user.",
        "user\nmodel",
        "{'a': 1}",
        "'\"\\",
        "\u2028",
        "한국어",
        "x" * 3000,
        "model\n" * 50,
    ),
]


def save_chat_model(directory: Path, layout: str) -> None:
    """A random Llama of one block, with a byte-level tokenizer of the layout."""
    template, special = LAYOUTS[layout]
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS_OF_LLAMA), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator([text * 3 for text in TEXTS], trainer)
    inner.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(f"{special[0]} $A", special_tokens=[(special[0], 0)]),
        ]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, bos_token=special[0], eos_token=special[1], pad_token=special[2],
        additional_special_tokens=special[3:], chat_template=template,
    )  # fmt: skip
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, bos_token_id=0, eos_token_id=1, max_position_embeddings=4096,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def odd_pairs(count: int, *, seed: int = 0) -> list[dict[str, Any]]:
    """Conversations of odd text, with and without a system message and earlier turns."""
    draw = random.Random(seed)
    rows = []
    while len(rows) < count:
        chosen, rejected = (odd_text(draw) for _ in range(2))
        if not chosen.strip() or not rejected.strip() or chosen.strip() == rejected.strip():
            continue
        prompt = [user(odd_text(draw) + "?")]
        if draw.random() < 0.3:
            prompt = [user(odd_text(draw) + "."), assistant(odd_text(draw) + "."), *prompt]
        if draw.random() < 0.3:
            prompt = [{"role": "system", "content": "Short."}, *prompt]
        rows.append({"prompt": prompt, "chosen": [assistant(chosen)], "rejected": [assistant(rejected)]})
    return rows


def odd_text(draw: random.Random) -> str:
    return "".join(draw.choice(TEXTS) for _ in range(draw.choice((1, 1, 2, 4))))


def as_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The last turn of each as plain text."""
    return [
        {"prompt": row["prompt"][-1]["content"], **{side: row[side][0]["content"] for side in ("chosen", "rejected")}}
        for row in rows
    ]

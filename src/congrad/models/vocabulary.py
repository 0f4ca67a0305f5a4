"""The vocabulary in a GGUF file to a Hugging Face tokenizer that gives the token ids llama.cpp gives.

transformers reads the vocabulary of Gemma 3 as a Unigram model and drops the digit splitting of SmolLM2, so
both are rebuilt here. A SentencePiece BPE vocabulary (`llama` in GGUF) has no list of merges: the score of a piece is
its rank, and any two neighbours whose concatenation is a piece may merge, best score first. Every split of every
piece into two pieces, in that order, is the same thing written as a list.
"""

from gguf import GGUFReader, TokenType
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from congrad.models.dequantise import metadata

TOKEN_KEYS = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}


def build_tokenizer(reader: GGUFReader) -> PreTrainedTokenizerFast:
    """The tokenizer of a GGUF with a SentencePiece BPE (`llama`) or byte-level BPE (`gpt2`) vocabulary."""
    tokens: list[str] = metadata(reader, "tokenizer.ggml.tokens")
    types: list[int] = metadata(reader, "tokenizer.ggml.token_type")
    if metadata(reader, "tokenizer.ggml.model") == "llama":
        tokenizer = sentencepiece_bpe(tokens, metadata(reader, "tokenizer.ggml.scores"), types)
    else:
        assert metadata(reader, "tokenizer.ggml.pre") == "smollm", "another way of splitting words than SmolLM's"
        tokenizer = byte_level_bpe(tokens, metadata(reader, "tokenizer.ggml.merges"))
    added = {TokenType.CONTROL: True, TokenType.USER_DEFINED: False}
    tokenizer.add_tokens(
        [
            AddedToken(token, normalized=False, special=added[TokenType(kind)])
            for token, kind in zip(tokens, types, strict=True)
            if kind in added
        ]
    )
    assert tokenizer.get_vocab_size() == len(tokens), "two tokens of the vocabulary have the same text"
    named = {name: tokens[metadata(reader, f"tokenizer.ggml.{key}_token_id")] for name, key in TOKEN_KEYS.items()}
    if metadata(reader, "tokenizer.ggml.add_bos_token"):
        bos = named["bos_token"]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", pair=f"{bos} $A {bos} $B", special_tokens=[(bos, tokens.index(bos))]
        )
    has_template = "tokenizer.chat_template" in reader.fields
    template = metadata(reader, "tokenizer.chat_template") if has_template else None
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, chat_template=template, clean_up_tokenization_spaces=False, **named
    )


def sentencepiece_bpe(tokens: list[str], scores: list[float], types: list[int]) -> Tokenizer:
    """Spaces become `▁`, none is put in front, characters outside the vocabulary become their UTF-8 bytes."""
    model = BPE(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges_by_score(tokens, scores, types),
        unk_token="<unk>",  # noqa: S106 - no password
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    return tokenizer


def merges_by_score(tokens: list[str], scores: list[float], types: list[int]) -> list[tuple[str, str]]:
    """All splits of an ordinary piece into two ordinary pieces: best score of the whole first, then by the ids.

    Byte, control and user-defined tokens never come about by merging: they are cut out of the text before.
    """
    ids = {token: index for index, token in enumerate(tokens) if types[index] == TokenType.NORMAL}
    splits = [
        (-scores[index], ids[token[:cut]], ids[token[cut:]])
        for token, index in ids.items()
        for cut in range(1, len(token))
        if token[:cut] in ids and token[cut:] in ids
    ]
    return [(tokens[left], tokens[right]) for _, left, right in sorted(splits)]


def byte_level_bpe(tokens: list[str], merges: list[str]) -> Tokenizer:
    """GPT-2's byte-level BPE with every digit on its own, as SmolLM was trained."""
    pairs = [(left, right) for left, _, right in (merge.partition(" ") for merge in merges)]
    tokenizer = Tokenizer(BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=pairs))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer

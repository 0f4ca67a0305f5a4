"""Tokenizers out of GGUF: worked values on tiny vocabularies, equality with llama.cpp on the real ones."""

from pathlib import Path
from typing import Any

import pytest

gguf = pytest.importorskip("gguf")

from gguf import TokenType  # noqa: E402

from congrad.models.load import load_tokenizer  # noqa: E402
from congrad.models.packaged import PACKAGES, locate  # noqa: E402
from congrad.models.vocabulary import byte_level_bpe, merges_by_score, sentencepiece_bpe  # noqa: E402

TEXTS = [
    "The capital of France is",
    "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "Все люди рождаются свободными и равными в своём достоинстве и правах.",
    "يولد جميع الناس أحراراً ومتساوين في الكرامة والحقوق.",
    "มนุษย์ทั้งปวงเกิดมามีอิสระและเสมอภาคกันในศักดิ์ศรีและสิทธิ",
    "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "人人生而自由，在尊严和权利上一律平等。",
    "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "সমস্ত মানুষ স্বাধীনভাবে সমান মর্যাদা এবং অধিকার নিয়ে জন্মগ্রহণ করে।",
    "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
    "Ꭿ 𐍈 ꙮ \U0001f469\u200d\U0001f680 \U0001f3f3\ufe0f\u200d\U0001f308 e\u0301 ½Ⅷ ١٢٣ 2026-01-31 1,234.50 €",
    "  a   b\n\n\nc\t\td \r\n x\u00a0\u200by " + " " * 40 + "end ",
    "<h1>Title</h1> <code>if (a<b) { return '<0x41>'; }</code>\n\n",
    "def f(x):\n    return x ** 2  # 12345\n",
]


def test_merges_are_all_splits_best_piece_first() -> None:
    tokens = ["<s>", "a", "b", "c", "bc", "ab", "abc", "<0x61>", "aa"]
    scores = [-1000.0, -9.0, -9.0, -9.0, -1.0, -2.0, -3.0, 0.0, -1000.0]
    kinds = [TokenType.CONTROL, *[TokenType.NORMAL] * 6, TokenType.BYTE, TokenType.USER_DEFINED]
    assert merges_by_score(tokens, scores, kinds) == [("b", "c"), ("a", "b"), ("a", "bc"), ("ab", "c")]


def test_sentencepiece_merges_by_rank_not_from_the_left() -> None:
    tokens = ["<unk>", "a", "b", "c", "bc", "ab", "▁", "▁a", *(f"<0x{byte:02X}>" for byte in range(256))]
    scores = [0.0, -9.0, -9.0, -9.0, -1.0, -2.0, -9.0, -3.0] + [0.0] * 256
    kinds = [TokenType.UNKNOWN, *[TokenType.NORMAL] * 7, *[TokenType.BYTE] * 256]
    tokenizer = sentencepiece_bpe(tokens, scores, kinds)
    assert tokenizer.encode("abc ab").tokens == ["a", "bc", "▁", "ab"]  # no space in front; ab before ▁a
    assert tokenizer.encode("é").tokens == ["<0xC3>", "<0xA9>"]
    assert tokenizer.decode(tokenizer.encode("abc é a").ids) == "abc é a"


def test_byte_level_splits_every_digit() -> None:
    tokens = ["1", "2", "12", "a", "Ġ", "Ġa", "ĠĠ"]
    tokenizer = byte_level_bpe(tokens, ["1 2", "Ġ a", "Ġ Ġ"])
    assert tokenizer.encode("12 a").tokens == ["1", "2", "Ġa"]


@pytest.mark.slow
@pytest.mark.parametrize("packaged_name", ["gemma3-270m"], indirect=True)
def test_gemma_tokenizer(packaged_name: str) -> None:
    tokenizer = load_tokenizer(packaged_name)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer("The capital of France is").input_ids)
    assert tokens == ["<bos>", "The", "▁capital", "▁of", "▁France", "▁is"]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (2, 1, 0)
    assert tokenizer("<start_of_turn>x\n\n<end_of_turn>").input_ids[1::2] == [105, 108]
    assert tokenizer.chat_template is None


@pytest.mark.slow
@pytest.mark.parametrize("packaged_name", ["smollm2-135m"], indirect=True)
def test_smollm2_tokenizer(packaged_name: str) -> None:
    tokenizer = load_tokenizer(packaged_name)
    named = (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token, tokenizer.unk_token)
    assert named == ("<|im_start|>", "<|im_end|>", "<|im_end|>", "<|endoftext|>")
    assert tokenizer.convert_ids_to_tokens(tokenizer("in 2026").input_ids) == ["in", "Ġ", "2", "0", "2", "6"]
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert chat.endswith("<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n")


@pytest.mark.slow
def test_token_ids_equal_llama_cpp_and_decode_to_the_text(packaged_name: str, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(packaged_name)
    ids = [tokenizer(text).input_ids for text in TEXTS]
    assert tokenizer.batch_decode(ids, skip_special_tokens=True) == TEXTS
    llama: Any = pytest.importorskip("llama_cpp")
    reference = llama.Llama(str(locate(PACKAGES[packaged_name], tmp_path)), vocab_only=True, verbose=False)
    add_bos = tokenizer.bos_token_id == ids[0][0]
    assert ids == [reference.tokenize(text.encode(), add_bos=add_bos, special=True) for text in TEXTS]

"""Token ids equal those of TRL 1.16's `DPOTrainer`, from its own dataset preparation and its own collator."""

import json
import sys
from pathlib import Path

import datasets
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from congrad.errors import UserError
from congrad.preferences import TokenisedPairs, load_preferences, tokenise
from congrad.preferences.render import split_prompt

PAIRS = Path(__file__).parents[3] / "shared" / "data" / "pairs"

CHATML = (
    "{% if tools %}<|im_start|>tools\n{{ tools | tojson }}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{{ style or '' }}{% endif %}"
)
# Like Gemma's and Qwen's: begins with BOS, refuses a first system turn, and ends a lone prompt with an empty thought.
STRICT = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n\n</think>\n{% endif %}"
)
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]


def make_tokenizer(added: str = "", template: str | None = None, *, words: bool = True) -> PreTrainedTokenizerFast:
    """Byte-level BPE. `added`: "bos", "bos eos" or "". Without `words`, tokens merge over spaces and line ends."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=words)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    text = [value for row in STANDARD for value in (row["prompt"] + row["chosen"], row["prompt"] + row["rejected"])]
    backend.train_from_iterator(text * 3, trainer)
    if added:
        single = {"bos": "<s> $A", "bos eos": "<s> $A </s>"}[added]
        backend.post_processor = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 0), ("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", model_max_length=20
    )
    tokenizer.chat_template = template
    return tokenizer


STANDARD = [
    {"prompt": "Wie heißt du?", "chosen": "Ich heiße Eva.", "rejected": "Ich heiße nicht.", "language": "de"},
    {"prompt": "Wie heißt du? ", "chosen": " Eva", "rejected": "Eva", "language": "de"},  # merges over the boundary
    {"prompt": "un", "chosen": "tergehen", "rejected": "ter", "language": "de"},  # merges over the boundary
    {"prompt": "質問です。\n", "chosen": "\n答え</s>", "rejected": "答え</s> ", "language": "ja"},  # ends by itself
    {"prompt": "Ends with </s>", "chosen": "x", "rejected": "y", "language": "en"},
    {"prompt": "An empty answer:", "chosen": "", "rejected": "no", "language": "en"},
    {"prompt": "The same answer:", "chosen": "yes", "rejected": "yes", "language": "en"},
    {"prompt": "The same start: ", "chosen": "word " * 60 + "a", "rejected": "word " * 60 + "b", "language": "en"},
    {"prompt": "A long prompt " * 40, "chosen": "a", "rejected": "b", "language": "en"},
    {
        "prompt": "<s>A start</s> of <|im_start|> tricks",
        "chosen": "👍🏽 \x00",
        "rejected": "\u202eabc",
        "language": "en",
    },
]
IMPLICIT = [
    {"chosen": "Frage? Ja, gern", "rejected": "Frage? Nein", "language": "de"},  # the space goes to the responses
    {"chosen": "Frage: Ja", "rejected": "Frage: Ja, gern", "language": "de"},  # one is the start of the other
    {"chosen": "Frage: Ja", "rejected": "Frage: Ja", "language": "de"},
    {"chosen": "Frage:\nJa", "rejected": "Frage:\nJein", "language": "de"},
    {"chosen": "質問:答え", "rejected": "質問:解答", "language": "ja"},
]


def user(content: str) -> dict[str, str]:
    return {"role": "user", "content": content}


def assistant(content: str) -> dict[str, str]:
    return {"role": "assistant", "content": content}


TALK = [
    {"prompt": [user(row["prompt"])], "chosen": [assistant(row["chosen"])], "rejected": [assistant(row["rejected"])]}
    | {"language": row["language"]}
    for row in STANDARD
] + [
    {
        "prompt": [user("Hallo"), assistant("Guten Tag"), user("Wie geht's?")],
        "chosen": [assistant("Gut"), user("Schön"), assistant("Ja")],
        "rejected": [assistant("Gut"), user("Schön"), assistant("Nein")],
        "language": "de",
    },
    {"prompt": [user("a"), assistant("b")], "chosen": [user("c")], "rejected": [user("d")], "language": "en"},
]
IMPLICIT_TALK = [
    {"chosen": row["prompt"] + row["chosen"], "rejected": row["prompt"] + row["rejected"], "language": row["language"]}
    for row in TALK
]


def trl_pairs(rows: list[dict], tokenizer, max_length: int, output_dir: Path) -> dict[int, tuple[list[int], ...]]:
    """Prompt, chosen and rejected ids by row, as TRL's collator feeds them; rows that TRL drops are absent."""
    from trl import DPOConfig, DPOTrainer

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    data = datasets.Dataset.from_list([{**row, "number": number} for number, row in enumerate(rows)])
    trainer = DPOTrainer(
        model=LlamaForCausalLM(config),
        ref_model=LlamaForCausalLM(config),
        args=DPOConfig(
            output_dir=output_dir,
            max_length=max_length,
            use_cpu=True,
            bf16=False,
            report_to=[],
            gradient_checkpointing=None,  # TRL's default warns with this transformers
            activation_checkpointing=False,
        ),
        train_dataset=data,
        processing_class=tokenizer,
    )
    pairs = {}
    for row in trainer.train_dataset:
        batch = trainer.data_collator([row])
        response, there = batch["completion_mask"].bool(), batch["attention_mask"].bool()
        prompts = [batch["input_ids"][side][there[side] & ~response[side]].tolist() for side in (0, 1)]
        assert prompts[0] == prompts[1]
        pairs[row["number"]] = (prompts[0], *(batch["input_ids"][side][response[side]].tolist() for side in (0, 1)))
    return pairs


def ours(rows: list[dict], tokenizer, max_length: int, *, chat: bool = False) -> TokenisedPairs:
    preferences = load_preferences(datasets.Dataset.from_list(rows))
    return tokenise(preferences, tokenizer, chat=chat, max_length=max_length)


def assert_equal(pairs: TokenisedPairs, expected: dict[int, tuple[list[int], ...]]) -> None:
    for number in range(len(pairs)):
        ids = tuple(side[number].tolist() for side in (pairs.prompt_ids, pairs.chosen_ids, pairs.rejected_ids))
        if number in expected:
            assert ids == expected[number], number
            assert pairs.reasons[number] != "prompt fills the length limit"
        else:
            assert pairs.reasons[number] == "prompt fills the length limit"
            assert not len(pairs.chosen_ids[number])
            assert not len(pairs.rejected_ids[number])


TOKENIZERS = {
    "plain": ("", CHATML, True),
    "merging": ("", CHATML, False),
    "bos": ("bos", STRICT, True),
    "bos eos merging": ("bos eos", STRICT, False),
}
LAYOUTS = {"standard": STANDARD, "implicit": IMPLICIT, "conversational": TALK, "implicit conversational": IMPLICIT_TALK}


@pytest.mark.parametrize("max_length", [48, 1024])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_ids_equal_trl(tmp_path, kind, layout, max_length):
    added, template, words = TOKENIZERS[kind]
    tokenizer = make_tokenizer(added, template, words=words)
    expected = trl_pairs(LAYOUTS[layout], tokenizer, max_length, tmp_path)
    assert_equal(ours(LAYOUTS[layout], tokenizer, max_length), expected)


def test_chat_equals_the_same_rows_written_as_conversations(tmp_path):
    tokenizer = make_tokenizer("", CHATML)
    expected = trl_pairs(TALK[: len(STANDARD)], tokenizer, 200, tmp_path)
    assert_equal(ours(STANDARD, tokenizer, 200, chat=True), expected)


@pytest.mark.parametrize("as_text", [True, False])
def test_tools_and_template_arguments_equal_trl(tmp_path, as_text):
    tools = [{"type": "function", "function": {"name": "add", "description": "Adds."}}]
    rows = [
        {**TALK[0], "tools": json.dumps(tools) if as_text else tools, "chat_template_kwargs": {"style": "kurz: "}},
        {**TALK[1], "tools": None, "chat_template_kwargs": {"style": None}},
    ]
    tokenizer = make_tokenizer("", CHATML)
    expected = trl_pairs(rows, tokenizer, 1024, tmp_path)
    pairs = ours(rows, tokenizer, 1024)
    assert_equal(pairs, expected)
    assert len(pairs.prompt_ids[0]) > len(ours(TALK, tokenizer, 1024).prompt_ids[0])


@pytest.mark.skipif(not PAIRS.is_dir(), reason=f"no real pairs in {PAIRS}")
@pytest.mark.parametrize("chat", [False, True])
def test_real_pairs_equal_trl(tmp_path, chat):
    preferences = load_preferences(PAIRS)
    rows = preferences.dataset.select(range(0, len(preferences), 70)).to_list()
    tokenizer = make_tokenizer("bos", CHATML)
    tokenizer.model_max_length = 10**9
    said = [
        {
            **row,
            "prompt": [user(row["prompt"])],
            "chosen": [assistant(row["chosen"])],
            "rejected": [assistant(row["rejected"])],
        }
        for row in rows
    ]
    expected = trl_pairs(said if chat else rows, tokenizer, 512, tmp_path)
    assert len(rows) == 40
    assert_equal(ours(rows, tokenizer, 512, chat=chat), expected)


def test_prompts_are_split_off_as_trl_does():
    from trl.data_utils import extract_prompt

    texts = ["a b", "a c", "ab", "abc", "a", "b c d", "b c ", "b  c"]
    for chosen in texts:
        for rejected in texts:
            prompt = chosen[: split_prompt(chosen, rejected)]
            theirs = extract_prompt({"chosen": chosen, "rejected": rejected})["prompt"]
            # A response that ends in a space and shares nothing: TRL takes all but that space for the prompt.
            assert prompt == ("" if chosen[0] != rejected[0] else theirs)
    assert split_prompt("", "a") == 0


def test_batches_change_nothing(monkeypatch):
    tokenizer = make_tokenizer("bos", CHATML)
    whole = [ours(rows, tokenizer, 64) for rows in (STANDARD, TALK)]
    for module in ("tokenise", "rows"):
        monkeypatch.setattr(sys.modules[f"congrad.preferences.{module}"], "BATCH", 3)
    for rows, expected in zip((STANDARD, TALK), whole, strict=True):
        pairs = ours(rows, tokenizer, 64)
        assert pairs.reasons == expected.reasons
        for field in ("prompt_ids", "chosen_ids", "rejected_ids"):
            for one, other in zip(getattr(pairs, field), getattr(expected, field), strict=True):
                assert one.dtype == np.int32
                assert one.tolist() == other.tolist()


@pytest.mark.parametrize("rows", [STANDARD, TALK[: len(STANDARD)]], ids=["standard", "conversational"])
def test_rows_that_cannot_be_scored_get_a_reason(rows):
    pairs = ours(rows, make_tokenizer("bos", CHATML), 64)
    assert pairs.reasons[5:9] == [
        "empty response",
        "identical responses",
        "identical responses",  # made so by truncation
        "prompt fills the length limit",
    ]
    assert set(pairs.reasons[:5]) == {""}
    assert pairs.rows == list(range(len(rows)))
    assert pairs.languages == [row["language"] for row in rows]
    assert max(len(p) + len(c) for p, c in zip(pairs.prompt_ids, pairs.chosen_ids, strict=True)) == 64


def test_an_implicit_prompt_with_an_empty_response_is_no_mistake():
    rows = [*IMPLICIT, {"chosen": "", "rejected": "Frage? Nein", "language": "de"}]
    assert ours(rows, make_tokenizer(), 64).reasons[-1] == "empty response"


def test_unsuitable_tokenizers_and_rows_are_refused_with_the_mend():
    plain, strict = make_tokenizer(), make_tokenizer("", STRICT)
    with pytest.raises(UserError, match=r"no chat template for conversations; set tokenizer\.chat_template"):
        ours(TALK, plain, 64)
    with pytest.raises(UserError, match=r"no chat template for conversations; leave input\.chat out"):
        ours(STANDARD, plain, 64, chat=True)
    with pytest.raises(UserError, match="conversations already"):
        ours(TALK, strict, 64, chat=True)
    with pytest.raises(UserError, match="0 leaves no token"):
        ours(STANDARD, plain, 0)
    system = {**TALK[0], "prompt": [{"role": "system", "content": "Sei nett"}, user("Hallo")]}
    with pytest.raises(UserError, match=r"dataset, row 1 .*: the chat template .* refuses .*no system role"):
        ours([TALK[0], system], strict, 64)
    with pytest.raises(UserError, match=r"row 0 .*: column 'tools' holds '\[', which is not JSON"):
        ours([{**TALK[0], "tools": "["}], strict, 64)
    with pytest.raises(UserError, match=r"row 0 .*: column 'chat_template_kwargs' holds 'x'"):
        ours([{**TALK[0], "chat_template_kwargs": "x"}], strict, 64)
    plain.eos_token = None
    with pytest.raises(UserError, match="no EOS token"):
        ours(STANDARD, plain, 64)


def test_prompt_that_merges_into_the_response_has_a_reason():
    """Without BOS, "a" + "b" may be one token: nothing is left of the prompt that could predict it."""
    from congrad.preferences.tokenise import NO_PROMPT, _reason

    empty, some, other = (np.array(ids, dtype=np.int32) for ids in ([], [1, 2], [3]))
    assert _reason(("a", "b", "c"), empty, 9, some, other) == NO_PROMPT
    assert _reason(("a", "b", "c"), some, 9, some, other) == ""

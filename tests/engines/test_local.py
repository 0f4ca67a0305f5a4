"""The engine in process, against `generate` of transformers and against sampling written out without a cache."""

import json
import shutil

import pytest
import torch
from tests.vision import build_vision_model
from tokenizers import Tokenizer, decoders, models
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    TemperatureLogitsWarper,
    TopPLogitsWarper,
)

from congrad.engines.interface import Request, RequestRefused, Sampling
from congrad.engines.local import LocalEngine, Tokenised
from congrad.engines.open import open_engine
from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.settings.model import Model

PROMPTS = ["Haus", "tree street cheese", "nyumba mti", "Regen, Löffel; Abend und noch ein Vogel", "a", "b c"]


def requests(**options) -> list[Request]:
    options = {"temperature": 0.8, "top_p": 0.9, "max_tokens": 16, **options}
    return [Request(f"r{i}", prompt=prompt, sampling=Sampling(seed=i, **options)) for i, prompt in enumerate(PROMPTS)]


def replies(directory, asked, batch_size=8, done=()):
    with open_engine(Engine(batch_size=batch_size), Model(str(directory))) as engine:
        return {reply.key: reply for group in engine.generate(asked, done) for reply in group}


def load(directory):
    return AutoModelForCausalLM.from_pretrained(directory).eval(), AutoTokenizer.from_pretrained(directory)


def test_temperature_0_is_greedy_generate(tiny_directory):
    model, tokenizer = load(tiny_directory)
    found = replies(tiny_directory, requests(temperature=0.0), batch_size=4)
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**ids, do_sample=False, max_new_tokens=16, pad_token_id=1)
        new = out[0, ids["input_ids"].shape[1] :]
        assert found[f"r{i}"].text == tokenizer.decode(new, skip_special_tokens=True).rstrip("\ufffd")
        assert found[f"r{i}"].num_tokens == len(new)


@pytest.mark.parametrize("kind", ["qwen2-vl", "gemma3", "llama4"])
def test_models_that_also_take_images_answer_as_generate_does(kind, tiny_directory, tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    model = build_vision_model(kind, len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = replies(tmp_path, requests(temperature=0.0), batch_size=3)
    for i, prompt in enumerate(PROMPTS):
        ids = tokenizer(prompt, return_tensors="pt")
        out = model.generate(**ids, do_sample=False, max_new_tokens=16, pad_token_id=1)
        new = out[0, ids["input_ids"].shape[1] :]
        assert found[f"r{i}"].text == tokenizer.decode(new, skip_special_tokens=True).rstrip("\ufffd")


@torch.no_grad()
def written_out(directory, request: Request) -> str:
    """Sampling without batch, cache and padding: transformers' warpers, and a number of the row's generator a token."""
    model, tokenizer = load(directory)
    sampling = request.sampling
    warpers = LogitsProcessorList([TemperatureLogitsWarper(sampling.temperature), TopPLogitsWarper(sampling.top_p)])
    generator = torch.Generator().manual_seed(sampling.seed)
    numbers = torch.rand(sampling.max_tokens, generator=generator, dtype=torch.float64).tolist()
    start = tokenizer(request.prompt)["input_ids"]
    ids = list(start)
    for number in numbers:
        p = warpers(None, model(torch.tensor([ids])).logits[:, -1])[0].double().softmax(-1)
        order = sorted(range(len(p)), key=lambda token: (-p[token].item(), token))
        cumulative = p[order].cumsum(0).tolist()
        token = order[next(place for place, total in enumerate(cumulative) if total > number)]
        ids.append(token)
        if token == tokenizer.eos_token_id:
            break
    text = tokenizer.decode(ids, skip_special_tokens=True)[len(tokenizer.decode(start)) :]
    return text if ids[-1] == tokenizer.eos_token_id else text.rstrip("\ufffd")


def test_samples_are_those_of_the_distribution_written_out(tiny_directory):
    asked = requests(temperature=0.7, top_p=0.8)
    found = replies(tiny_directory, asked, batch_size=3)
    assert {request.key: found[request.key].text for request in asked} == {
        request.key: written_out(tiny_directory, request) for request in asked
    }


def test_a_reply_is_the_same_whoever_is_in_its_batch(tiny_directory):
    asked = requests()
    alone = replies(tiny_directory, asked, batch_size=1)
    assert replies(tiny_directory, asked, batch_size=3) == alone == replies(tiny_directory, asked[::-1], batch_size=6)
    before = torch.random.get_rng_state()
    assert replies(tiny_directory, asked[:2], batch_size=8) == {key: alone[key] for key in ("r0", "r1")}
    assert torch.equal(torch.random.get_rng_state(), before), "the global generator is left alone"


def test_batches_follow_from_the_whole_list_and_are_redone_whole(tiny_directory):
    asked = requests()
    with open_engine(Engine(batch_size=2), Model(str(tiny_directory))) as engine:
        groups = [[reply.key for reply in group] for group in engine.generate(asked)]
        assert [len(group) for group in groups] == [2, 2, 2]
        done = [*groups[0], groups[2][0]]
        again = [[reply.key for reply in group] for group in engine.generate(asked, done)]
    assert again == groups[1:]


def test_requests_of_different_settings_share_no_batch(tiny_directory):
    asked = [*requests(max_tokens=3)[:2], Request("g", prompt="a", sampling=Sampling(0.0, max_tokens=5))]
    with open_engine(Engine(), Model(str(tiny_directory))) as engine:
        assert sorted(sorted(reply.key for reply in group) for group in engine.generate(asked)) == [["g"], ["r0", "r1"]]


def test_end_tokens_of_the_generation_settings_end_a_reply_and_its_other_settings_do_nothing(tiny_directory, tmp_path):
    asked = requests(temperature=0.0)[1:2]
    model, tokenizer = load(tiny_directory)
    ids = tokenizer(asked[0].prompt, return_tensors="pt")
    new = model.generate(**ids, do_sample=False, max_new_tokens=16, pad_token_id=1)[0, ids["input_ids"].shape[1] :]
    place = next(place for place in range(2, 16) if new[place] not in new[:place])
    shutil.copytree(tiny_directory, tmp_path / "model")
    config = GenerationConfig(eos_token_id=[1, int(new[place])], repetition_penalty=9.0, do_sample=True, top_k=1)
    config.save_pretrained(tmp_path / "model")
    reply = replies(tmp_path / "model", asked)["r1"]
    assert (reply.finish_reason, reply.num_tokens) == ("stop", place + 1)
    assert reply.text == tokenizer.decode(new[:place])
    assert replies(tiny_directory, asked)["r1"].finish_reason == "length"


def test_a_conversation_goes_through_the_chat_template(chat_directory):
    messages = [{"role": "user", "content": "Haus"}]
    chatted = Request("a", messages=messages, sampling=Sampling(0.0, max_tokens=8))
    plain = Request("a", prompt="<s>user: Haus\n<s>assistant: ", sampling=Sampling(0.0, max_tokens=8))
    assert replies(chat_directory, [chatted]) == replies(chat_directory, [plain])


def test_a_conversation_that_the_template_refuses_is_named(chat_directory):
    asked = [Request("good", prompt="a"), Request("bad", messages=[{"role": "tool", "content": "x"}])]
    with pytest.raises(RequestRefused, match="chat template refuses the conversation") as caught:
        replies(chat_directory, asked)
    assert caught.value.request_key == "bad"


def test_what_exceeds_the_model_is_refused_before_anything_is_computed(tiny_directory, monkeypatch):
    monkeypatch.setattr(LocalEngine, "answer", lambda *args: pytest.fail("computed"))
    limit = json.loads((tiny_directory / "config.json").read_text())["max_position_embeddings"]
    asked = [
        Request("short", prompt="a", sampling=Sampling(max_tokens=4)),
        Request("long", prompt="a", sampling=Sampling(max_tokens=limit)),
    ]
    with pytest.raises(RequestRefused, match=f"max_tokens {limit} exceed the model's {limit} positions") as caught:
        replies(tiny_directory, asked)
    assert caught.value.request_key == "long"


def test_the_space_that_a_reply_begins_with_stays():
    """Tokenizers that mark words by a leading space drop it where a text begins, and a reply continues one."""
    backend = Tokenizer(models.WordLevel({"</s>": 0, "▁one": 1, "▁two": 2}, unk_token="</s>"))
    backend.decoder = decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="</s>")
    assert tokenizer.decode([2]) == "two"
    engine = LocalEngine.__new__(LocalEngine)
    engine.tokenizer, engine.end_ids = tokenizer, [0]
    reply = engine.reply(Tokenised(Request("a", prompt="one"), [1]), [2, 0, 1])
    assert (reply.text, reply.finish_reason, reply.num_tokens) == (" two", "stop", 2)


def test_logits_that_are_no_numbers_are_said(tiny_directory):
    with open_engine(Engine(), Model(str(tiny_directory))) as engine, torch.no_grad():
        engine.model.lm_head.weight.fill_(torch.nan)
        with pytest.raises(UserError, match=r"not numbers; load it with another model\.dtype"):
            next(engine.generate(requests()))


def test_memory_is_free_when_the_engine_is_closed(tiny_directory):
    with open_engine(Engine(), Model(str(tiny_directory))) as engine:
        pass
    assert not vars(engine).get("model")


def test_a_reply_ends_before_the_first_mark_of_its_own(tiny_directory):
    asked = requests(temperature=0.0)[:2]
    whole = replies(tiny_directory, asked)
    text = whole["r0"].text
    mark, later = text[3:5], text[6:8]
    marked = Request("r0", prompt=PROMPTS[0], sampling=Sampling(0.0, 0.9, 16, stop=(later, mark)))
    found = replies(tiny_directory, [marked, asked[1]])
    assert found["r0"].text == text[: text.find(mark)]
    assert found["r0"].finish_reason == "stop"
    assert found["r1"] == whole["r1"]

"""The share of the squared gradient outside the space, against autograd's gradients of all parameters."""

import json
import warnings

import pytest
import torch
import transformers as tf

from congrad.errors import UserError
from congrad.gradients import build_index, open_index, outside
from congrad.gradients.index import in_words, read_plan
from congrad.gradients.outside import LONGEST, few, measure_outside
from congrad.gradients.packing import num_packed_tokens
from congrad.gradients.space import Space
from congrad.models.load import load_model
from congrad.models.ranks import Rank
from congrad.settings.index import PassSettings

SETTINGS = PassSettings(projection_size=3, token_budget=64)
USUAL = {"embeddings and LM head", "norms and biases"}


def squares_of(model, triple, plain_logp, trained=lambda name: True):
    """The squared norm of every parameter's gradient, by autograd."""
    prompt, chosen, rejected = triple
    named = {name: parameter.requires_grad_(True) for name, parameter in model.named_parameters() if trained(name)}
    difference = plain_logp(model, prompt, chosen) - plain_logp(model, prompt, rejected)
    gradients = torch.autograd.grad(difference, list(named.values()), allow_unused=True)
    model.requires_grad_(False)
    return {
        name: float(gradient.square().sum())
        for name, gradient in zip(named, gradients, strict=True)
        if gradient is not None
    }


def share_of(squares, chosen) -> float:
    return sum(value for name, value in squares.items() if chosen(name)) / sum(squares.values())


def test_shares_are_those_of_autograd(tiny_model, family, random_pair, plain_logp, state_of):
    model, pair = tiny_model(family), random_pair(1, 9, 12, 7)
    squares, before = squares_of(model, pair, plain_logp), state_of(model)
    found = measure_outside(model, [pair], Space.of(model, packed=True))
    assert state_of(model) == before
    assert found["pairs"] == 1
    assert set(found["groups"]) == USUAL | ({"routers"} if "moe" in family or family == "mixtral" else set())
    assert found["share"] == pytest.approx(sum(found["groups"].values()), abs=1e-5)
    embedded = share_of(squares, lambda name: "embed" in name or "lm_head" in name or "wte" in name or "wpe" in name)
    assert found["groups"]["embeddings and LM head"] == pytest.approx(embedded, abs=1e-5)
    vectors = {name for name, parameter in model.named_parameters() if parameter.ndim == 1}
    assert found["groups"]["norms and biases"] == pytest.approx(share_of(squares, vectors.__contains__), abs=1e-5)
    assert list(found["groups"].values()) == sorted(found["groups"].values(), reverse=True)


def test_the_mean_is_over_pairs(tiny_model, random_pair):
    model, many = tiny_model(), [random_pair(n, 9, 6, 7) for n in range(500)]
    space = Space.of(model)
    measured = few(many)
    alone = [measure_outside(model, [pair], space)["share"] for pair in measured]
    found = measure_outside(model, measured, space)
    assert found["pairs"] == len(measured) == 4
    assert found["share"] == pytest.approx(sum(alone) / 4, abs=1e-5)


def test_few_pairs_of_several_lengths_and_no_more_than_a_hundredth(random_pair):
    pairs = [random_pair(n, 1 + n % 30, 1 + n % 30, 1 + n % 30) for n in range(600)]
    lengths = [num_packed_tokens(*pair) for pair in few(pairs)]
    assert len(set(lengths)) == 4
    assert sum(lengths) < 0.01 * sum(num_packed_tokens(*pair) for pair in pairs) + lengths[0]
    assert len(few(pairs[:20])) == 1, "short of the pass's cost"
    assert few(pairs[:1]) == [pairs[0]]
    ((prompt, chosen, rejected),) = few([random_pair(0, 900, 5, 700)])
    assert (len(prompt), len(chosen), len(rejected)) == (LONGEST, 5, LONGEST)


def test_blocks_that_do_not_count_are_named(tiny_model, random_pair, plain_logp):
    model, pair = tiny_model(), random_pair(1, 9, 12, 7)
    squares = squares_of(model, pair, plain_logp)
    found = measure_outside(model, [pair], Space.of(model, "1:"))["groups"]
    lowest = share_of(squares, lambda name: "layers.0." in name and "norm" not in name)
    assert found["decoder blocks that index.layers leaves out"] == pytest.approx(lowest, abs=1e-5)


def test_convolutions_and_other_matrices_are_named(tiny_model, random_pair):
    shape = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2}
    model = tf.MambaForCausalLM(tf.MambaConfig(**shape, state_size=4)).requires_grad_(False).eval()
    found = measure_outside(model, [random_pair(1, 9, 12, 7)], Space.of(model))
    assert set(found["groups"]) == USUAL | {"convolutions"}
    packed = measure_outside(model, [random_pair(1, 9, 12, 7)], Space.of(model, packed=True))
    assert set(packed["groups"]) == USUAL | {"convolutions", "other matrices"}


@pytest.mark.parametrize("targets", [["embed_tokens", "q_proj"], ["q_proj"]])
@pytest.mark.parametrize("whole", [["lm_head"], None])
def test_what_an_adapter_trains_outside_is_named(tiny_model, random_pair, plain_logp, tmp_path, targets, whole):
    peft = pytest.importorskip("peft")
    tiny_model().save_pretrained(tmp_path / "base")
    settings = peft.LoraConfig(r=2, target_modules=targets, modules_to_save=whole, init_lora_weights=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT cannot look up the base model's vocabulary without a hub
        adapted = peft.get_peft_model(tiny_model(), settings)
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_" in name:
                    parameter.normal_(std=0.2, generator=torch.Generator().manual_seed(0))
        adapted.save_pretrained(tmp_path / "adapter")
    model = load_model(str(tmp_path / "base"), adapter=str(tmp_path / "adapter"), dtype="float32")
    pair = random_pair(1, 9, 12, 7)
    squares = squares_of(model, pair, plain_logp, lambda name: "lora_" in name or "modules_to_save" in name)
    found = measure_outside(model, [pair], Space.of(model))
    expected = {
        name: share_of(squares, lambda each, part=part: part in each)
        for name, part, there in (
            ("model.embed_tokens (LoRA)", "embed_tokens", "embed_tokens" in targets),
            ("lm_head (modules_to_save)", "lm_head", whole),
        )
        if there
    }
    assert found["groups"] == pytest.approx(expected, abs=1e-5)


def test_a_pair_without_a_gradient_does_not_count(tiny_model, random_pair):
    model = tiny_model()
    prompt, chosen, _ = random_pair(1, 9, 12, 7)
    assert measure_outside(model, [(prompt, chosen, chosen)], Space.of(model)) is None


def test_words():
    found = {"pairs": 3, "share": 0.453, "groups": {"norms and biases": 0.278, "embeddings": 0.174, "routers": 0.001}}
    assert in_words(found) == (
        "45% of the squared gradient is outside the gradient space (measured on 3 pairs): "
        "28% norms and biases, 17% embeddings"
    )


# In the index


@pytest.fixture
def model(tiny_model):
    return tiny_model()


def test_it_is_measured_once_and_stored(tmp_path, model, many_pairs, monkeypatch, contents):
    notes = []
    index = build_index(model, many_pairs(40), tmp_path / "index", SETTINGS, on_note=notes.append)
    found = index.plan["outside"]
    assert set(found["groups"]) == USUAL
    assert notes == [in_words(found)]
    before = contents(tmp_path / "index")
    (tmp_path / "index" / "index.json").unlink()
    (tmp_path / "index" / "sketches-00001.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("congrad.gradients.build.measure_outside", lambda *_: pytest.fail("it is measured already"))
        build_index(model, many_pairs(40), tmp_path / "index", SETTINGS, on_note=notes.append)
    assert len(notes) == 1
    assert contents(tmp_path / "index") == before


@pytest.mark.parametrize("finished", [True, False])
def test_an_index_from_before_is_read_and_continued(tmp_path, model, many_pairs, finished):
    index = build_index(model, many_pairs(40), tmp_path / "index", SETTINGS)
    path = tmp_path / "index" / "plan.json"
    plan = json.loads(path.read_text())
    assert plan.pop("outside") == index.plan["outside"]
    path.write_text(json.dumps(plan))
    assert open_index(tmp_path / "index").plan["outside"] is None
    if not finished:
        (tmp_path / "index" / "index.json").unlink()
    assert build_index(model, many_pairs(40), tmp_path / "index", SETTINGS).plan["outside"] is None


def test_other_ranks_do_not_measure(tmp_path, model, many_pairs, monkeypatch):
    def begun():
        if read_plan(tmp_path / "index") is None:
            raise InterruptedError

    monkeypatch.setattr("congrad.gradients.build.measure_outside", lambda *_: pytest.fail("on another rank"))
    with pytest.raises(InterruptedError):  # it waits for the first one
        build_index(model, many_pairs(40), tmp_path / "index", SETTINGS, rank=Rank(1, 2), barrier=begun)


def test_a_damaged_share_is_refused(tmp_path, model, many_pairs):
    build_index(model, many_pairs(5), tmp_path / "index", SETTINGS)
    path = tmp_path / "index" / "plan.json"
    plan = json.loads(path.read_text())
    plan["outside"]["share"] = 7.0
    path.write_text(json.dumps(plan))
    with pytest.raises(UserError, match=r"plan\.json.*outside\.share"):
        open_index(tmp_path / "index")


def test_running_out_of_memory_is_a_line_and_leaves_nothing(tmp_path, model, many_pairs, monkeypatch):
    def run_out(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.")

    monkeypatch.setattr(outside, "go_back", run_out)
    with pytest.raises(UserError) as raised:
        build_index(model, many_pairs(5), tmp_path / "index", SETTINGS)
    assert str(raised.value) == "out of memory on cpu; lower index.token_budget (64) or input.max_length"
    assert not (tmp_path / "index").exists()


def test_what_cannot_be_measured_does_not_stop_the_pass(tmp_path, model, many_pairs, monkeypatch):
    def fails(*arguments):
        raise RuntimeError("a leaf Variable that requires grad\nis being used in an in-place operation.")

    monkeypatch.setattr(outside, "go_back", fails)
    notes = []
    index = build_index(model, many_pairs(5), tmp_path / "index", SETTINGS, on_note=notes.append)
    assert index.plan["outside"] is None
    reason = "a leaf Variable that requires grad is being used in an in-place operation."
    assert notes == [f"what is outside the gradient space could not be measured ({reason})"]


def test_without_memory_for_it_the_pass_goes_on(tmp_path, model, many_pairs, monkeypatch):
    monkeypatch.setattr("congrad.gradients.build.free_memory", lambda device: 1000)
    notes: list[str] = []
    index = build_index(model, many_pairs(5), tmp_path / "index", SETTINGS, on_note=notes.append)
    assert index.plan["outside"] is None
    (note,) = notes
    assert note.startswith("what is outside the gradient space is not measured (it takes about ")

"""One packed pass gives, per pair, the projection of what autograd gives explicitly; and it leaves no trace."""

import copy

import pytest
import torch

from congrad.errors import UserError
from congrad.gradients import attention
from congrad.gradients import head as head_module
from congrad.gradients.attention import IMPLEMENTATION
from congrad.gradients.packing import pack
from congrad.gradients.sketch import scorer, sketcher
from congrad.gradients.space import decoder_blocks, gradient_space

SIZE = 4
PRECISE = 1e-5  # relative, float32: ten times what is measured


def sketch_pairs(model, triples, normalise="sum", *, layers=None, size=SIZE, seed=0):
    with sketcher(model, size=size, seed=seed, layers=layers) as sketch:
        return sketch(pack(triples, normalise))


@pytest.mark.parametrize("normalise", ["sum", "mean"])
def test_sketches_project_the_gradients_of_autograd(
    tiny_model, family, normalise, varied_pairs, sketch_of, relative_error
):
    """Of every family, packed, against two separate sequences under the model's own eager attention."""
    model = tiny_model(family)
    found = sketch_pairs(model, varied_pairs, normalise).sketches_BD
    assert found.shape == (len(varied_pairs), SIZE**2)
    for triple, sketch in zip(varied_pairs, found, strict=True):
        assert relative_error(sketch, sketch_of(model, triple, SIZE, 0, normalise)) < PRECISE


def test_log_probabilities_are_those_of_the_plain_model(tiny_model, family, varied_pairs, plain_logp):
    model = tiny_model(family)
    expected = torch.tensor(
        [[plain_logp(model, prompt, side).item() for side in sides] for prompt, *sides in varied_pairs]
    )
    packed_pairs = pack(varied_pairs, "mean")  # what is stored is the sum all the same
    torch.testing.assert_close(sketch_pairs(model, varied_pairs, "mean").logps_B2, expected, rtol=1e-5, atol=1e-4)
    with scorer(model) as score:
        scored = score(packed_pairs)
    torch.testing.assert_close(scored.logps_B2, expected, rtol=1e-5, atol=1e-4)
    assert scored.sketches_BD.shape == (len(varied_pairs), 0)


def test_packing_changes_nothing(tiny_model, family, varied_pairs, relative_error):
    """All pairs in one pack, one at a time, and in another order."""
    model = tiny_model(family)
    with sketcher(model, size=SIZE, seed=0) as sketch:
        together = sketch(pack(varied_pairs, "sum"))
        reverse = sketch(pack(varied_pairs[::-1], "sum"))
        for i, triple in enumerate(varied_pairs):
            alone = sketch(pack([triple], "sum"))
            for other, row in ((together, i), (reverse, -1 - i)):
                assert relative_error(other.sketches_BD[row], alone.sketches_BD[0]) < PRECISE
                torch.testing.assert_close(other.logps_B2[row], alone.logps_B2[0], rtol=1e-5, atol=1e-4)


def test_small_blocks_and_chunks_change_nothing(tiny_model, family, varied_pairs, relative_error, monkeypatch):
    model = tiny_model(family)
    expected = sketch_pairs(model, varied_pairs).sketches_BD
    monkeypatch.setattr(attention, "QUERY_BLOCK", 4)
    monkeypatch.setattr(head_module, "MIN_CHUNK", 5)
    monkeypatch.setattr(head_module, "CHUNK_ELEMENTS", 1)
    assert relative_error(sketch_pairs(model, varied_pairs).sketches_BD, expected) < PRECISE


def test_shared_start_of_the_responses_may_as_well_belong_to_the_prompt(tiny_model, random_pair, relative_error):
    """In the difference of sums a token of both sides cancels: moving it to the prompt leaves the same gradient."""
    model = tiny_model()
    prompt, chosen, rejected = random_pair(0, 4, 9, 7, shared=3)
    moved = (torch.cat([torch.from_numpy(prompt), torch.from_numpy(chosen[:3])]).numpy(), chosen[3:], rejected[3:])
    one, other = sketch_pairs(model, [(prompt, chosen, rejected)]), sketch_pairs(model, [moved])
    assert relative_error(one.sketches_BD, other.sketches_BD) < PRECISE
    assert torch.all(one.logps_B2 < other.logps_B2)
    difference = one.logps_B2 @ torch.tensor([1.0, -1.0])
    torch.testing.assert_close(difference, other.logps_B2 @ torch.tensor([1.0, -1.0]), rtol=1e-5, atol=1e-5)


def test_swapping_the_sides_negates_the_sketch(tiny_model, varied_pairs, relative_error):
    model = tiny_model()
    swapped = [(prompt, rejected, chosen) for prompt, chosen, rejected in varied_pairs]
    one, other = sketch_pairs(model, varied_pairs), sketch_pairs(model, swapped)
    assert relative_error(other.sketches_BD, -one.sketches_BD) < PRECISE
    torch.testing.assert_close(other.logps_B2, one.logps_B2.flip(1))


def test_a_pass_repeated_is_the_same_to_the_bit(tiny_model, varied_pairs):
    model = tiny_model("gemma2")
    with sketcher(model, size=SIZE, seed=0) as sketch:
        first, again = sketch(pack(varied_pairs, "sum")), sketch(pack(varied_pairs, "sum"))
    anew = sketch_pairs(model, varied_pairs)
    assert torch.equal(first.sketches_BD, again.sketches_BD)
    assert torch.equal(first.sketches_BD, anew.sketches_BD)


@pytest.mark.parametrize("layers", ["upper", "1:2", ":1", "-1:"])
def test_some_layers_are_sketched_alone(tiny_model, family, layers, varied_pairs, sketch_of, relative_error):
    model = tiny_model(family)
    found = sketch_pairs(model, varied_pairs, layers=layers).sketches_BD
    for triple, sketch in zip(varied_pairs, found, strict=True):
        assert relative_error(sketch, sketch_of(model, triple, SIZE, 0, layers=layers)) < PRECISE


@pytest.mark.parametrize(("layers", "lowest"), [(None, 0), ("1:", 1), ("1:2", 1), ("2:", 2)])
def test_backward_pass_goes_no_deeper_than_the_lowest_layer(tiny_model, family, layers, lowest, varied_pairs):
    model = tiny_model(family)
    _, blocks = decoder_blocks(model)
    found = []
    handles = [
        block.register_forward_pre_hook(lambda module, args: found.append(args[0].requires_grad)) for block in blocks
    ]
    sketch_pairs(model, varied_pairs, layers=layers)
    for handle in handles:
        handle.remove()
    assert found == [number > lowest for number in range(len(blocks))]


@pytest.mark.parametrize(
    ("family", "targets"),
    [("llama", ["q_proj", "v_proj", "down_proj"]), ("gemma3", "all-linear"), ("gpt2", ["c_attn", "c_proj"])],
)
def test_adapter_is_the_gradient_space(adapted_model, family, targets, varied_pairs, autograd, project, relative_error):
    model = adapted_model(family, targets)
    space = gradient_space(model)
    adapter = {name for name, _ in model.named_parameters() if ".lora_" in name}
    assert {f"{layer.name}.weight" for layer in space} == adapter
    assert len(adapter) > 0
    assert all(3 in (layer.num_inputs, layer.num_outputs) for layer in space)
    found = sketch_pairs(model, varied_pairs).sketches_BD
    for triple, sketch in zip(varied_pairs, found, strict=True):
        expected = project(space, autograd(model, space, triple), SIZE, 0)
        assert relative_error(sketch, expected) < PRECISE


def test_adapter_of_the_head_is_refused(adapted_model):
    model = adapted_model("llama", ["q_proj", "lm_head"])
    for context in (sketcher(model, size=SIZE, seed=0), scorer(model)):
        with pytest.raises(UserError, match="the adapter changes the LM head"), context:
            pass


def test_adapter_in_the_upper_blocks_alone(adapted_model, varied_pairs, autograd, project, relative_error):
    model = adapted_model("llama", ["q_proj", "up_proj"])
    space = gradient_space(model, "upper")
    assert {layer.block for layer in space} == {1, 2}
    found = sketch_pairs(model, varied_pairs[:1], layers="upper").sketches_BD[0]
    assert relative_error(found, project(space, autograd(model, space, varied_pairs[0]), SIZE, 0)) < PRECISE


@pytest.mark.bfloat16
def test_bfloat16_is_close_to_float32(tiny_model, family, varied_pairs):
    half = tiny_model(family).to(torch.bfloat16)
    full = copy.deepcopy(half).float()
    one, other = sketch_pairs(half, varied_pairs), sketch_pairs(full, varied_pairs)
    assert one.sketches_BD.dtype == one.logps_B2.dtype == torch.float32
    cosines = torch.cosine_similarity(one.sketches_BD, other.sketches_BD)
    assert cosines.min().item() > (
        0.95 if family in ("qwen3-moe", "mixtral") else 0.98
    )  # rounding may choose other experts
    torch.testing.assert_close(one.logps_B2, other.logps_B2, rtol=0.02, atol=0.1)


@pytest.mark.parametrize("family", ["llama", "mixtral"])
def test_sketches_keep_inner_products_on_average(tiny_model, family, varied_pairs, all_gradients):
    """Over 300 seeds, each inner product of two gradients to within 5 standard errors."""
    model = tiny_model(family, num_hidden_layers=1)
    triples = varied_pairs[:3]
    exact_BG = torch.stack([torch.cat([g.flatten() for g in all_gradients(model, t)]) for t in triples])
    packed_pairs, products = pack(triples, "sum"), []
    for seed in range(300):
        with sketcher(model, size=2, seed=seed) as sketch:
            sketches_BD = sketch(packed_pairs).sketches_BD
        products.append(sketches_BD @ sketches_BD.T)
    products = torch.stack(products)
    standard_error = products.std(0) / len(products) ** 0.5
    exact_BB = exact_BG @ exact_BG.T
    assert ((products.mean(0) - exact_BB).abs() < 5 * standard_error).all()
    assert (standard_error.diagonal() < 0.1 * exact_BB.diagonal()).all()  # so the line above means something


def test_model_is_as_it_was_afterwards(tiny_model, family, varied_pairs, state_of):
    model = tiny_model(family)
    model.set_attn_implementation("eager")
    ids = torch.arange(9)[None]
    before, logits = state_of(model), model(ids).logits
    with sketcher(model, size=SIZE, seed=0) as sketch:
        assert model.config._attn_implementation == IMPLEMENTATION
        sketch(pack(varied_pairs, "sum"))
    assert state_of(model) == before
    with scorer(model) as score:
        score(pack(varied_pairs, "sum"))
    assert state_of(model) == before
    assert torch.equal(model(ids).logits, logits)


@pytest.mark.parametrize("when", ["inside", "in the forward pass"])
def test_model_is_as_it_was_after_an_error(tiny_model, when, varied_pairs, state_of):
    model = tiny_model("gemma3")
    before = state_of(model)
    for context in (lambda: sketcher(model, size=SIZE, seed=0), lambda: scorer(model)):
        with pytest.raises((RuntimeError, IndexError)), context() as compute:  # noqa: PT012
            if when == "inside":
                raise RuntimeError
            beyond = [tuple(ids + 1000 for ids in triple) for triple in varied_pairs]
            compute(pack(beyond, "sum"))
        assert state_of(model) == before


def test_pass_goes_on_after_a_failed_pack(tiny_model, varied_pairs):
    model = tiny_model()
    expected = sketch_pairs(model, varied_pairs).sketches_BD
    with sketcher(model, size=SIZE, seed=0) as sketch:
        with pytest.raises(IndexError):
            sketch(pack([tuple(ids + 1000 for ids in varied_pairs[0])], "sum"))
        assert torch.equal(sketch(pack(varied_pairs, "sum")).sketches_BD, expected)


def test_model_that_is_not_frozen_is_refused_and_left_alone(tiny_model, state_of):
    model = tiny_model()
    model.get_input_embeddings().weight.requires_grad_(True)
    before = state_of(model)
    with pytest.raises(AssertionError, match="freeze the model first"), sketcher(model, size=SIZE, seed=0):
        pass
    assert state_of(model) == before


def test_model_in_training_mode_is_refused_and_left_alone(tiny_model, state_of):
    model = tiny_model().train()
    before = state_of(model)
    with pytest.raises(AssertionError), sketcher(model, size=SIZE, seed=0):
        pass
    assert state_of(model) == before

"""Which precision is chosen, and why: by measurement, by memory, by request."""

import itertools

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from congrad.errors import UserError
from congrad.models import precision
from congrad.models.precision import Shape, choose, layer_shape, seconds_of, times_as_fast
from congrad.settings.model import switch

CPU = torch.device("cpu")


@pytest.fixture
def skeleton() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=32,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        dtype="bfloat16",
    )
    with torch.device("meta"):
        return LlamaForCausalLM(config)


@pytest.fixture
def measured(monkeypatch):
    """Sets how many times as fast as float32 a dtype is measured to be."""
    monkeypatch.setenv("CONGRAD_BFLOAT16", "measure")

    def put(ratio: float) -> None:
        monkeypatch.setattr(precision, "times_as_fast", lambda *_: ratio)

    return put


@pytest.mark.parametrize(
    ("ratio", "dtype", "words"),
    [
        (7.0, "bfloat16", "bfloat16 are 7.0 times as fast"),
        (1.3, "bfloat16", "bfloat16 are 1.3 times as fast"),
        (1.29, "float32", "bfloat16 are 1.3 times as fast"),
        (0.5, "float32", "bfloat16 are 2.0 times slower"),
        (0.01, "float32", "bfloat16 are 100 times slower"),
    ],
)
def test_bfloat16_is_taken_only_where_it_wins_clearly(measured, skeleton, ratio, dtype, words):
    measured(ratio)
    choice = choose("auto", CPU, skeleton, num_weights=100)
    assert choice.dtype == dtype
    assert not choice.is_slow
    assert choice.words.startswith(f"computing in {dtype}: ")
    assert words in choice.words
    assert "\n" not in choice.words


def test_rounding_of_stored_weights_is_said(measured, skeleton):
    measured(7.0)
    assert "stored in" not in choose("auto", CPU, skeleton, num_weights=100).words
    skeleton.config.dtype = torch.float32
    assert choose("auto", CPU, skeleton, num_weights=100).words.endswith("; the weights are stored in float32")


@pytest.mark.parametrize(("free", "dtype"), [(4799, "bfloat16"), (4800, "float32")])
def test_float32_needs_a_fifth_of_memory_to_spare(measured, monkeypatch, skeleton, free, dtype):
    measured(0.05)
    monkeypatch.setattr(precision, "free_memory", lambda device: free)
    choice = choose("auto", CPU, skeleton, num_weights=1000)
    assert choice.dtype == dtype
    assert choice.is_slow == (dtype == "bfloat16")
    if choice.is_slow:
        assert "float32 needs 4.8 KB including a reserve of a fifth, and 4.8 KB are free" in choice.words
        assert "20 times slower" in choice.words


@pytest.mark.parametrize(
    ("asked", "ratio", "faster"),
    [
        ("bfloat16", 0.1, "float32 would be faster"),
        ("float16", 0.1, "float32 would be faster"),
        ("float32", 3.0, "bfloat16 would be faster"),
        ("bfloat16", 3.0, None),
        ("bfloat16", 1.0, None),
        ("float32", 1.0, None),
        ("float32", 0.1, None),
    ],
)
def test_what_was_asked_for_is_taken_and_a_faster_one_named(measured, skeleton, asked, ratio, faster):
    measured(ratio)
    choice = choose(asked, CPU, skeleton, num_weights=100)
    assert choice.dtype == asked
    assert choice.is_slow == (faster is not None)
    assert faster is None or faster in choice.words


@pytest.mark.parametrize(("position", "dtype"), [("slow", "float32"), ("fast", "bfloat16")])
def test_the_switch_overrides_the_measurement(monkeypatch, skeleton, position, dtype):
    monkeypatch.setattr(precision, "times_as_fast", lambda *_: pytest.fail("measured"))
    monkeypatch.setenv("CONGRAD_BFLOAT16", position)
    choice = choose("auto", CPU, skeleton, num_weights=100)
    assert choice.dtype == dtype
    assert f"CONGRAD_BFLOAT16 is {position}" in choice.words
    asked = choose("bfloat16", CPU, skeleton, num_weights=100)
    assert asked.dtype == "bfloat16"
    assert asked.is_slow == (position == "slow")


@pytest.mark.parametrize(("value", "position"), [("", "measure"), ("measure", "measure"), ("slow", "slow")])
def test_the_switch(monkeypatch, value, position):
    monkeypatch.setenv("CONGRAD_BFLOAT16", value)
    assert switch() == position


def test_a_wrong_position_of_the_switch(monkeypatch):
    monkeypatch.setenv("CONGRAD_BFLOAT16", "quick")
    with pytest.raises(UserError, match="CONGRAD_BFLOAT16 is 'quick'; set it to slow, fast or measure"):
        switch()


@pytest.mark.parametrize(("has_it", "dtype"), [(True, "bfloat16"), (False, "float32")])
def test_a_cuda_card_says_whether_it_has_bfloat16(monkeypatch, skeleton, has_it, dtype):
    monkeypatch.setenv("CONGRAD_BFLOAT16", "measure")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    monkeypatch.setattr(precision, "free_memory", lambda device: 10**9)
    choice = choose("auto", torch.device("cuda", 0), skeleton, num_weights=100)
    assert choice.dtype == dtype
    assert f"a card {'has' if has_it else 'lacks'} it" in choice.words


# The measurement


def test_most_weights_decide_the_shape_and_the_head_is_none_of_it(skeleton):
    assert layer_shape(skeleton) == Shape(inputs=32, outputs=96)  # gate and up; the head is 32 x 4096
    with torch.device("meta"):
        assert layer_shape(GPT2LMHeadModel(GPT2Config(n_embd=8, n_head=2, n_layer=1))) == Shape(8, 32)


def test_smaller_shapes_keep_their_proportions():
    whole = Shape(inputs=640, outputs=2048)
    small = whole.smaller(2**21)
    assert small.tokens * small.inputs * small.outputs == pytest.approx(2**21, rel=0.05)
    assert small.outputs / small.inputs == pytest.approx(3.2, rel=0.05)
    assert whole.smaller(2**40) == whole
    assert Shape(32, 48).smaller(2**21) == Shape(32, 48)


@pytest.fixture
def clock(monkeypatch):
    """Products take what a table of speeds says; gives the shapes that were multiplied in the dtype asked about."""
    asked: list[Shape] = []
    now = [0.0]

    def use(speed: float) -> list[Shape]:
        def pair(dtype, device, shape):
            if dtype != "float32":
                asked.append(shape)
            return dtype, shape

        def seconds(work, device):
            dtype, shape = work
            seconds = shape.tokens * shape.inputs * shape.outputs / 1e10 / (1 if dtype == "float32" else speed)
            now[0] += 4 * seconds
            return seconds

        monkeypatch.setattr(precision, "product_pair", pair)
        monkeypatch.setattr(precision, "seconds_of", seconds)
        monkeypatch.setattr(precision.time, "perf_counter", lambda: now[0])
        times_as_fast.cache_clear()
        return asked

    yield use
    times_as_fast.cache_clear()


def test_a_hopeless_precision_is_tried_on_the_smallest_shape_only(clock):
    asked = clock(1 / 100)
    assert times_as_fast("bfloat16", CPU, Shape(640, 2048), 1) == pytest.approx(0.01)
    assert len(asked) == 1


def test_a_good_one_is_tried_up_to_the_pass_s_own_shape(clock):
    asked = clock(4.0)
    assert times_as_fast("bfloat16", CPU, Shape(160, 512), 1) == pytest.approx(4.0)
    assert asked[-1] == Shape(160, 512)
    assert asked == sorted(asked, key=lambda shape: shape.inputs)


def test_measuring_ends_in_time_whatever_the_model(clock):
    asked = clock(1.0)
    times_as_fast("bfloat16", CPU, Shape(8192, 28672), 1)
    assert precision.time.perf_counter() < 2 * precision.SECONDS
    assert asked[-1].inputs < 8192


def test_what_else_the_machine_does_for_a_moment_decides_nothing(monkeypatch):
    times = itertools.cycle([1.0, 60.0, 1.0, 2.0, 30.0, 2.0])  # of bfloat16 and float32 by turns
    monkeypatch.setattr(precision, "product_pair", lambda *_: None)
    monkeypatch.setattr(precision, "seconds_of", lambda *_: next(times))
    times_as_fast.cache_clear()
    assert times_as_fast("bfloat16", CPU, Shape(32, 48), 1) == 2.0
    times_as_fast.cache_clear()


@pytest.mark.bfloat16
def test_a_real_measurement_leaves_the_generator_alone_and_finds_something():
    times_as_fast.cache_clear()
    state = torch.get_rng_state()
    ratio = times_as_fast("bfloat16", CPU, Shape(32, 48), torch.get_num_threads())
    assert 0 < ratio < 1000
    assert torch.equal(torch.get_rng_state(), state)


def test_the_first_run_does_not_count(monkeypatch):
    ticks = iter([0.0, 0.04, 1.0, 1.001, 2.0, 2.002, 3.0, 3.003])
    monkeypatch.setattr(precision.time, "perf_counter", lambda: next(ticks))
    assert seconds_of(lambda: None, CPU) == pytest.approx(0.001)

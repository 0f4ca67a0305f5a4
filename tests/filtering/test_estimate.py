"""What is told before a pass: its disk to a fifth, its tokens exactly, and nothing written."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.vision import build_vision_model

from congrad.filtering.estimate import (
    SECONDS,
    Estimate,
    estimate,
    measure,
    scaled,
    seconds_of_products,
    tokens_of,
)
from congrad.gradients import build_index
from congrad.gradients.build import triples
from congrad.gradients.outside import few, memory_needed
from congrad.gradients.packing import num_packed_tokens
from congrad.models.load import load_model, load_tokenizer
from congrad.models.memory import peak_memory
from congrad.models.precision import layer_shape
from congrad.preferences import load_preferences, tokenise
from congrad.settings.index import PassSettings


@pytest.fixture
def pairs(make_rows, tiny_directory):
    import datasets

    rows = make_rows(60)
    rows[7]["rejected"] = rows[7]["chosen"]
    return tokenise(load_preferences(datasets.Dataset.from_list(rows)), load_tokenizer(str(tiny_directory)))


@pytest.mark.parametrize("size", [16, 32])
def test_disk_and_tokens(tmp_path, pairs, tiny_directory, size):
    model, settings = load_model(str(tiny_directory)), PassSettings(projection_size=size)
    told = estimate(model, pairs, settings)
    assert told.num_pairs == 59
    sides = (pairs.prompt_ids, pairs.chosen_ids, pairs.rejected_ids)
    assert told.num_tokens <= sum(len(side[i]) for side in sides for i in range(60) if not pairs.reasons[i])
    assert told.num_tokens > sum(len(side[i]) for side in sides for i in range(60)) / 2
    assert told.seconds > 0
    all_triples = list(zip(*sides, strict=True))
    assert told.memory_bytes <= peak_memory(torch.device("cpu")) + memory_needed(model, all_triples)
    index = build_index(model, pairs, tmp_path / "index", settings)
    on_disk = sum(path.stat().st_size for path in index.directory.iterdir())
    assert told.disk_bytes == pytest.approx(on_disk, rel=0.2)


def test_more_devices_take_less_time_and_as_much_disk(pairs, tiny_directory, monkeypatch):
    monkeypatch.setattr("congrad.filtering.estimate.measure", lambda *_: ([(64, 1.0), (64, 1.0)], True))
    model, settings = load_model(str(tiny_directory)), PassSettings(token_budget=64)
    one, four = (estimate(model, pairs, settings, world_size) for world_size in (1, 4))
    sketched = one.num_tokens / 64
    outside = one.seconds - sketched  # is measured by one of them
    pair = 4 * num_packed_tokens(*few(triples(pairs, [i for i in range(60) if not pairs.reasons[i]]))[0])
    assert outside == pytest.approx(pair / 64)
    assert four.seconds == pytest.approx(sketched / 4 + outside)
    assert four.low / one.low == four.high / one.high == pytest.approx(four.seconds / one.seconds)
    assert one.disk_bytes == four.disk_bytes


# How it is measured


def triple(length: int):
    ids = np.arange(length)
    return ids, ids + 1, ids[::-1] + 1


class Pass:
    """A pass that takes a second for every pack and some more for every token, on a clock of its own."""

    def __init__(self, monkeypatch, a_token: float, a_pack: float = 0.0) -> None:
        self.now, self.a_token, self.a_pack, self.sizes = 0.0, a_token, a_pack, []
        monkeypatch.setattr("congrad.filtering.estimate.time.perf_counter", lambda: self.now)

    def __call__(self, some):
        tokens, _ = tokens_of(some)
        seconds = self.a_pack + self.a_token * tokens
        self.now += seconds
        self.sizes.append(tokens)
        return tokens, seconds


LONGEST, TYPICAL = [triple(200)], [triple(40), triple(40)]


def test_a_fast_pass_is_measured_on_the_longest_and_a_typical_pack(monkeypatch):
    run = Pass(monkeypatch, a_token=1e-3)
    points, whole = measure(run, LONGEST, TYPICAL)
    assert whole
    assert [tokens for tokens, _ in points] == [tokens_of(LONGEST)[0], tokens_of(TYPICAL)[0]]
    seconds, low, high = scaled(points, 10_000, 512, 1.0, whole=True)
    assert seconds == pytest.approx(10.0)
    assert low == pytest.approx(9.0)
    assert high == pytest.approx(11.0)


@pytest.mark.parametrize(("a_token", "a_pack"), [(0.1, 0.0), (0.2, 0.0), (0.05, 2.0), (0.3, 0.1)])
def test_a_slow_pass_is_measured_on_pieces_in_time(monkeypatch, a_token, a_pack):
    run = Pass(monkeypatch, a_token, a_pack)
    points, whole = measure(run, LONGEST, TYPICAL)
    assert not whole
    assert run.now < SECONDS + 2 * run.sizes[0] * a_token + 2 * a_pack
    assert max(run.sizes) < tokens_of(LONGEST)[0]
    truth = 10_000 * a_token + 10_000 / 512 * a_pack
    seconds, low, high = scaled(points, 10_000, 512, 10_000 * a_token, whole=False)
    assert low <= truth <= high
    if len(points) > 1:
        assert seconds == pytest.approx(truth, rel=0.01)


def test_pieces_on_a_busy_machine_do_not_say_that_it_cannot_be_faster():
    """Of a pass that took 290 s there: the second piece waited for the machine."""
    _, low, high = scaled([(18, 3.0), (68, 12.8)], 19_169, 512, 90.0, whole=False)
    assert low <= 90 < 290 < high


def test_where_a_piece_takes_minutes_single_products_are_measured(pairs, tiny_directory, monkeypatch):
    monkeypatch.setattr("congrad.filtering.estimate.seconds_of", lambda *_: 3600.0)
    monkeypatch.setattr("congrad.filtering.estimate.measure", lambda *_: pytest.fail("a pack was run"))
    told = estimate(load_model(str(tiny_directory)), pairs, PassSettings())
    assert told.measured_tokens == 0
    assert not told.whole
    assert 0 < told.low < told.seconds < told.high


def test_products_are_those_of_all_weights_twice(tiny_directory, monkeypatch):
    model = load_model(str(tiny_directory))
    monkeypatch.setattr("congrad.filtering.estimate.seconds_of", lambda *_: 2.0)  # of two products
    shape = layer_shape(model).smaller(2**22)
    one = 1 / (shape.tokens * shape.inputs * shape.outputs)
    blocks = sum(p.numel() for layer in model.model.layers for p in layer.parameters() if p.ndim > 1)
    head = model.lm_head.weight.numel()
    assert seconds_of_products(model)(100, 30) == pytest.approx(2 * one * (100 * blocks + 30 * head))


def test_towers_are_no_part_of_the_products(monkeypatch):
    model = build_vision_model("llava")
    monkeypatch.setattr("congrad.filtering.estimate.seconds_of", lambda *_: 2.0)
    shape = layer_shape(model)
    assert (shape.inputs, shape.outputs) == (32, 48)
    shape = shape.smaller(2**22)
    one = 1 / (shape.tokens * shape.inputs * shape.outputs)
    blocks = sum(p.numel() for layer in model.model.language_model.layers for p in layer.parameters() if p.ndim > 1)
    assert seconds_of_products(model)(100, 30) == pytest.approx(2 * one * (100 * blocks + 30 * 61 * 32))


ESTIMATE = Estimate(
    num_pairs=2800,
    num_tokens=1_234_567,
    seconds=600,
    low=540,
    high=700,
    memory_bytes=2_500_000_000,
    disk_bytes=3_000_000,
    measured_tokens=512,
    whole=True,
)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (
            {},
            "2,800 pairs, 1,234,567 tokens: about 10 min 00 s (between 9 min 00 s and 11 min 40 s), "
            "2.5 GB of memory, 3.0 MB of disk",
        ),
        (
            {"whole": False, "measured_tokens": 24},
            "2,800 pairs, 1,234,567 tokens: about 10 min 00 s (between 9 min 00 s and 11 min 40 s: measured on 24 "
            "tokens, because a whole pack would take too long), at least 2.5 GB of memory, 3.0 MB of disk",
        ),
        (
            {"whole": False, "measured_tokens": 0},
            "2,800 pairs, 1,234,567 tokens: about 10 min 00 s (between 9 min 00 s and 11 min 40 s: measured on single "
            "matrix products, because a whole pack would take too long), at least 2.5 GB of memory, 3.0 MB of disk",
        ),
    ],
)
def test_the_estimate_in_a_line(changed, line):
    assert str(replace(ESTIMATE, **changed)) == line

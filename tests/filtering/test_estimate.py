"""What is told before a pass: its disk to a fifth, its tokens exactly, and nothing written."""

import pytest
import torch

from congrad.filtering.estimate import estimate, peak_memory
from congrad.gradients import PassSettings, build_index
from congrad.models.load import load_model, load_tokenizer
from congrad.preferences import load_preferences, tokenise


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
    assert told.memory_bytes <= peak_memory(torch.device("cpu"))
    index = build_index(model, pairs, tmp_path / "index", settings)
    on_disk = sum(path.stat().st_size for path in index.directory.iterdir())
    assert told.disk_bytes == pytest.approx(on_disk, rel=0.2)


def test_more_devices_take_less_time_and_as_much_disk(pairs, tiny_directory, monkeypatch):
    ticks = iter([0.0, 1.0, 5.0, 6.0])  # a pack takes a second
    monkeypatch.setattr("congrad.filtering.estimate.time.perf_counter", lambda: next(ticks))
    model, settings = load_model(str(tiny_directory)), PassSettings(token_budget=64)
    one, four = (estimate(model, pairs, settings, world_size) for world_size in (1, 4))
    assert one.seconds == pytest.approx(4 * four.seconds)
    assert one.disk_bytes == four.disk_bytes
    assert one.num_tokens / 64 <= one.seconds < one.num_tokens / 64 * 2  # packs are nearly full

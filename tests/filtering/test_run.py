"""The filter from Python: as one call, and as the three that it is made of."""

import json
from dataclasses import replace

import datasets
import pyarrow.parquet as pq
import pytest
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

import congrad
from congrad import FilterConfig, Input, Model, PassSettings, Selection, UserError, filter_preferences, refilter
from congrad.filtering.conclude import outside_the_space
from congrad.filtering.estimate import Estimate
from congrad.gradients.index import in_words
from congrad.models.ranks import ranks
from congrad.progress import Listener


@pytest.fixture
def source(tmp_path, make_rows) -> str:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in make_rows(30)))
    return str(path)


@pytest.fixture
def config(source, tiny_directory) -> FilterConfig:
    return FilterConfig(Input(source), Model(str(tiny_directory)))


def test_one_call_is_the_three(config, source, tiny_directory, tmp_path):
    stages, notes, progress = [], [], []
    listener = Listener(stages.append, progress.append, notes.append, pytest.fail)
    result = filter_preferences(config, tmp_path / "run", listener=listener)
    assert result is not None
    assert stages[0] == "reading the pairs"
    assert [told.num_pairs for told in notes if isinstance(told, Estimate)] == [30]
    computing, outside = [str(told) for told in notes if not isinstance(told, Estimate)]
    assert computing.startswith("computing in ")
    assert outside == in_words(result.manifest["plan"]["outside"])
    assert {told.stage for told in progress} == {"reading the pairs", "tokenising", "sketching", "scoring"}
    for name in ("reading the pairs", "tokenising", "sketching", "scoring"):
        assert [(told.done, told.total) for told in progress if told.stage == name][-1] == (30, 30)

    pairs = congrad.tokenise(congrad.load_preferences(source), congrad.load_tokenizer(str(tiny_directory)))
    index = congrad.build_index(congrad.load_model(str(tiny_directory)), pairs, tmp_path / "index")
    scored = congrad.score(index)
    keep_N = congrad.select(scored.score_N, scored.language_N, keep=0.5)
    assert scored.languages == ["de", "en", "sw"]
    assert torch.equal(scored.score_N, result.scored.score_N)
    assert torch.equal(keep_N, result.keep_N)
    assert [scored.languages[code] for code in scored.language_N.tolist()] == pairs.languages
    table = pq.read_table(tmp_path / "run" / "scores.parquet").to_pydict()
    assert table["keep"] == keep_N.tolist()
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["kept"] == int(result.keep_N.sum())

    again = refilter(tmp_path / "run", selection=Selection(keep=0.1), output=tmp_path / "other")
    assert torch.equal(again.scored.score_N, scored.score_N)
    assert int(again.keep_N.sum()) == 3


def test_a_dry_run_gives_an_estimate_and_no_result(config, tmp_path):
    notes = []
    listener = Listener(on_note=notes.append)
    assert filter_preferences(config, tmp_path / "run", dry_run=True, listener=listener) is None
    assert sum(isinstance(told, Estimate) for told in notes) == 1
    assert not (tmp_path / "run").exists()
    filter_preferences(config, tmp_path / "run")
    filter_preferences(config, tmp_path / "run", dry_run=True, listener=listener)
    assert sum(isinstance(told, Estimate) for told in notes) == 2, "asked for, though the index is there"


def test_a_model_that_is_mostly_outside_the_space_is_named(config, tmp_path, tiny_directory, monkeypatch):
    monkeypatch.setattr("congrad.gradients.space.is_experts", lambda module: False)  # experts of a kind of their own
    tokenizer = congrad.load_tokenizer(str(tiny_directory))
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8}
    Qwen3MoeForCausalLM(Qwen3MoeConfig(vocab_size=len(tokenizer), **shape, **experts)).save_pretrained(tmp_path / "moe")
    tokenizer.save_pretrained(tmp_path / "moe")
    config = replace(config, model=Model(str(tmp_path / "moe")))
    packed = replace(config, index=replace(config.index, route="packed"))
    result = filter_preferences(packed, tmp_path / "run")
    # A block: 4 experts of 3 x 32 x 24 and a router of 4 x 32, beside attention of 2 x 32 x 32 and 2 x 32 x 16
    assert result is not None
    assert [warning for warning in result.warnings if "outside the gradient space" in warning] == [
        "75% of the weights in the decoder blocks are outside the gradient space, because they are in neither linear "
        "layers nor experts that congrad knows; the scores use the other weights only; "
        + in_words(result.manifest["plan"]["outside"])
    ]
    assert {"routers", "other matrices"} <= result.manifest["plan"]["outside"]["groups"].keys()
    general = filter_preferences(config, tmp_path / "general")  # to which all experts are matrices
    assert general is not None
    assert not any("outside" in warning for warning in general.warnings)
    assert general.manifest["plan"]["settings"]["route"] == "general"
    monkeypatch.undo()  # experts that congrad knows
    known = filter_preferences(config, tmp_path / "known")
    assert known is not None
    assert not any("outside" in warning for warning in known.warnings)
    assert not torch.equal(known.scored.score_N, result.scored.score_N)


def test_a_weight_that_is_an_embedding_too_is_named():
    plan = {"num_weights": 90, "num_weights_outside": 0, "outside": None, "tied": ["layers.0.up", "layers.1.up"]}
    (warning,) = outside_the_space(plan)
    assert "its weight is also an embedding or the LM head: layers.0.up and 1 more" in warning
    assert outside_the_space(plan | {"tied": []}) == []


def test_scores_are_of_the_rows_that_are_left(make_rows, tiny_directory, tmp_path):
    """Rows that cannot be scored change no other row's number, name or place."""
    rows = make_rows(30)
    rows[4]["chosen"] = ""
    preferences = congrad.load_preferences(datasets.Dataset.from_list(rows))
    pairs = congrad.tokenise(preferences, congrad.load_tokenizer(str(tiny_directory)))
    scored = congrad.score(congrad.build_index(congrad.load_model(str(tiny_directory)), pairs, tmp_path / "index"))
    assert scored.rows["row"].to_pylist() == list(range(30))
    assert scored.reason_N == ["empty response" if row == 4 else "" for row in range(30)]
    assert torch.nonzero(scored.score_N.isnan()).flatten().tolist() == [4]
    assert scored.rows["chosen_logp"][4].as_py() is None
    assert scored.detail.num_pairs_L.tolist() == [10, 9, 10]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": PassSettings(normalise="mean")}, "index.normalise=sum"),
        ({"input": {"source": "x", "max_length": 1}}, "input.max_length 1: must be 2 or more"),
        ({"input": {"source": "x", "limit": 0}}, "input.limit 0: must be 1 or more"),
        ({"model": {"name": "x", "device": "tpu"}}, "model.device tpu: must be"),
        ({"model": {"name": "x", "dtype": "int8"}}, "model.dtype 'int8': must be one of auto"),
    ],
)
def test_a_configuration_is_checked_before_anything_is_read(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        filter_preferences(FilterConfig(**{"input": Input("x"), "model": Model("x")} | change), tmp_path / "run")


def test_alone_there_is_one_rank(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with ranks() as rank:
        assert (rank.number, rank.world_size) == (0, 1)


def test_public_names_are_there():
    assert congrad.__all__ == sorted(congrad.__all__) == dir(congrad)
    assert all(callable(getattr(congrad, name)) for name in congrad.__all__)
    with pytest.raises(AttributeError, match="No congrad attribute nothing"):
        _ = congrad.nothing

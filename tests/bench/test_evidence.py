"""The loop that trains for the evidence is what `congrad train` does, and the program goes from pairs to a page."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.evidence import __main__ as program
from bench.evidence.cases import Case, open_bank
from bench.evidence.page import by_chance
from bench.evidence.plan import FIVE, GROUPS, PAPER, RANDOM_GROUPS, Training, training_key
from bench.evidence.training import Recipe, adapter, all_logps, fit, logps, loss_of

from congrad.advice.budget import Budget
from congrad.gradients.build import triples
from congrad.models.load import load_model, load_tokenizer
from congrad.preferences import load_preferences, tokenise
from congrad.settings.model import Model
from congrad.settings.training import Rounds
from congrad.training.train import train

pytest.importorskip("trl")

LANGUAGES, PROMPTS = ("de", "en", "sw"), 28


@pytest.fixture
def folder(tmp_path, make_rows, save_rows):
    """Parallel pairs: the number in the id is the prompt's."""
    directory = tmp_path / "pairs"
    directory.mkdir()
    for language in LANGUAGES:
        rows = [row | {"id": f"{language}-{number}"} for number, row in enumerate(make_rows(PROMPTS, (language,)))]
        save_rows(directory / f"{language}.jsonl", rows)
    return directory


def tokenised(path, model):
    pairs = tokenise(load_preferences(path), load_tokenizer(str(model)))
    return triples(pairs, range(len(pairs.rows)))


def test_log_probabilities_are_those_of_each_sequence_alone(folder, tiny_directory):
    model, pairs = load_model(str(tiny_directory), dtype="float32"), tokenised(folder, tiny_directory)[:5]
    expected = []
    for prompt, *sides in pairs:
        for response in sides:
            ids = torch.tensor([[*prompt, *response]])
            with torch.no_grad():
                logp_TV = model(ids).logits[0].log_softmax(-1)
            expected.append(sum(float(logp_TV[at - 1, ids[0, at]]) for at in range(len(prompt), ids.shape[1])))
    torch.testing.assert_close(logps(model, pairs).flatten(), torch.tensor(expected), rtol=1e-5, atol=1e-5)


def test_the_loop_trains_as_congrad_train_does(tmp_path, folder, tiny_directory):
    """All weights, one batch of all pairs, so that neither the order nor an adapter's draw matters."""
    path = folder / "de.jsonl"
    pairs = tokenised(path, tiny_directory)
    recipe = Recipe(learning_rate=1e-3, epochs=3, batch_size=len(pairs))
    values = {"learning_rate": 1e-3, "num_train_epochs": 3, "per_device_train_batch_size": len(pairs), "seed": 0}
    model = Model(str(tiny_directory), dtype="float32", device="cpu")
    train([path], model, model, Rounds(), values, tmp_path / "trained")
    theirs = all_logps(load_model(str(tmp_path / "trained" / "model"), dtype="float32"), pairs)
    mine = load_model(str(tiny_directory), dtype="float32")
    before = all_logps(mine, pairs)
    assert fit(mine.requires_grad_(True), pairs, before, recipe, seed=0) == 3
    change, expected = all_logps(mine, pairs) - before, theirs - before
    assert expected.abs().mean() > 0.05
    torch.testing.assert_close(change, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().mean()))


def test_an_adapter_leaves_the_model_as_it_was(folder, tiny_directory):
    model, pairs = load_model(str(tiny_directory), dtype="float32"), tokenised(folder, tiny_directory)[:6]
    before = all_logps(model, pairs)
    with adapter(model, 4, seed=0) as adapted:
        torch.testing.assert_close(all_logps(adapted, pairs), before)
        fit(adapted, pairs, before, Recipe(learning_rate=1e-2, batch_size=3), seed=0)
        assert not torch.allclose(all_logps(adapted, pairs), before)
    assert torch.equal(all_logps(model, pairs), before)
    assert not any(weight.requires_grad for weight in model.parameters())


def test_a_case_swaps_its_share_and_holds_prompts_out_in_all_languages(tmp_path, folder, tiny_directory):
    bank = open_bank(str(tiny_directory), folder, tmp_path / "index")
    case = Case(bank, LANGUAGES, 0.25, 0, Budget(1, 6))
    assert case.names == list(LANGUAGES)
    held = set(bank.prompt_N[case.held_H].tolist())
    assert len(held) == 7
    assert not held & set(bank.prompt_N[case.train_T].tolist())
    assert len(case.held_H) == 3 * 7
    assert torch.bincount(case.language_T, case.swapped_T.double()).tolist() == [5, 5, 5]  # a quarter of 21
    row = int(torch.nonzero(case.swapped_T)[0])
    prompt, chosen, rejected = bank.triples[int(case.train_T[row])]
    swapped = case.pairs(torch.tensor([row]))[0]
    assert [list(ids) for ids in swapped] == [list(prompt), list(rejected), list(chosen)]
    assert int(case.kept(("congrad", 0.5)).sum()) == 3 * 11  # half of 21, rounded up
    everything = case.first_order(case.kept(("all", 1.0)))
    assert everything == pytest.approx(case.first_order(case.kept(("random", 1.0))))


def test_what_two_options_differ_by_by_chance_is_what_seeds_and_options_leave():
    # Left of [[1, 2], [3, 8]] without the means of rows and columns: 1 everywhere, of one degree of freedom: variance 4
    assert "standard error of about 2.000," in by_chance(np.array([[1.0, 2.0], [3.0, 8.0]]))
    assert by_chance(np.array([[1.0, 2.0]])) == ""


def test_the_program_trains_and_goes_on_and_prints_its_page(tmp_path, folder, tiny_directory, monkeypatch, capsys):
    monkeypatch.setattr(program, "plan", lambda: [Training(0.25, 0, *option) for option in FIVE])
    monkeypatch.setattr(program, "MORE_SEEDS", range(0))
    monkeypatch.setattr(program, "paper_plan", list)
    output = tmp_path / "runs" / "evidence.jsonl"
    base = ["bench.evidence", "--model", str(tiny_directory), "--pairs", str(folder), "--languages", *LANGUAGES]

    def call(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", [*base, "--output", str(output), *more])
        program.main()
        return capsys.readouterr().out

    call()
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["key"].get("predicted", row["key"].get("ranking")) for row in rows] == [
        "six",
        *(name for name, _ in FIVE),
    ]
    everything = rows[1]
    assert (everything["pairs"], everything["swapped"], everything["steps"]) == (63, 15, 11)
    assert set(everything["languages"]) == set(LANGUAGES)
    assert everything["loss_decrease"] == pytest.approx(sum(everything["languages"].values()) / 3)
    lines = output.read_text()
    assert call() == ""
    assert output.read_text() == lines, "what is done is not done again"
    output.write_text("".join(line + "\n" for line in lines.splitlines()[:-1]), encoding="utf-8")
    assert call().startswith("trained: noise 25%, seed 0, loss 50%: ")
    again = json.loads(output.read_text().splitlines()[-1])
    assert again["loss_decrease"] == rows[-1]["loss_decrease"]
    text = call("--markdown")
    assert "\n| all pairs | 63 | 15 | 11 | " in text
    assert "\n  - 25% swapped, seed 1: all pairs, keep 0.5, ConGrad, plain mean at 0.5, " in text
    assert Path(output).read_text().count("\n") == len(rows)


def test_a_group_has_an_adapter_of_its_own(tmp_path, folder, tiny_directory, monkeypatch, capsys):
    """Each group's languages come to what a training of them alone comes to."""
    output = tmp_path / "evidence.jsonl"
    base = ["bench.evidence", "--model", str(tiny_directory), "--pairs", str(folder), "--languages", *LANGUAGES]

    def call(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", [*base, "--output", str(output), *more])
        program.main()
        return capsys.readouterr().out

    of_seed_0 = [each for each in program.groups_plan() if each.seed == 0]
    monkeypatch.setitem(program.ALONE, "groups", lambda: of_seed_0)
    call("--only", "groups")
    together, divided, groups, random = [json.loads(line) for line in output.read_text().splitlines()]
    assert together["key"] == training_key(Training(0.0, 0, "all", 1.0)), "as it is without any groups"
    assert [row["key"].get("division") for row in (together, groups, random)] == [None, GROUPS, RANDOM_GROUPS]
    for name, row in ((GROUPS, groups), (RANDOM_GROUPS, random)):
        assert sorted(language for group in divided[name] for language in group) == list(LANGUAGES)
        assert sorted(map(len, divided[name])) == [1, 2]
        assert (row["pairs"], row["steps"]) == (63, 11)  # 4 and 7 of 21 and 42 pairs by 6
        for group in divided[name]:
            bench = program.Bench(str(tiny_directory), folder, tuple(group), output.with_suffix(".index"))
            alone = bench.train(Training(0.0, 0, "all", 1.0))["languages"]
            assert {language: row["languages"][language] for language in group} == pytest.approx(alone)
    assert divided["gain"]["budget"]["value"] == pytest.approx(
        divided["together"]["budget"] + divided["over_together"]["budget"]["value"]
    )
    text = call("--markdown")
    assert "\n| two random groups | 63 | 11 | " in text
    assert "\n- Seed 0: " in text
    assert call("--only", "groups") == "", "what is done is not done again"


def test_what_had_no_division_keeps_its_key():
    recipe = {"learning_rate": 2e-4, "epochs": 1, "batch_size": 6, "beta": 0.1, "rank": 16}
    expected = {"noise": 0.25, "seed": 1, "ranking": "congrad", "share": 0.5, "recipe": recipe}
    assert json.dumps(training_key(Training(0.25, 1, "congrad", 0.5))) == json.dumps(expected)


def test_robust_loss_undoes_swapped_labels_on_average():
    margin_B = torch.tensor([-1.0, 0.5, 3.0])
    plain_B = torch.log1p(torch.exp(-margin_B))
    torch.testing.assert_close(loss_of(margin_B, 0.0), plain_B)
    noisy_B = 0.75 * loss_of(margin_B, 0.25) + 0.25 * loss_of(-margin_B, 0.25)
    torch.testing.assert_close(noisy_B, plain_B)


def test_the_papers_table_is_measured_outside_too(tmp_path, folder, tiny_directory, monkeypatch, capsys):
    output = tmp_path / "evidence.jsonl"
    base = ["bench.evidence", "--model", str(tiny_directory), "--pairs", str(folder), "--languages", "de", "sw"]
    base += ["--general", str(folder / "en.jsonl"), "--output", str(output)]

    def call(*more: str) -> str:
        monkeypatch.setattr(sys, "argv", [*base, *more])
        program.main()
        return capsys.readouterr().out

    of_seed_0 = [each for each in program.paper_plan() if each.seed == 0]
    monkeypatch.setitem(program.ALONE, "paper", lambda: of_seed_0)
    call("--only", "paper")
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [(row["key"]["ranking"], row["key"]["share"]) for row in rows] == [option for _, option, _ in PAPER]
    assert [row["pairs"] for row in rows] == [42, 22, 22, 22, 22, 42, 22, 22]
    assert rows[5]["key"]["recipe"]["label_smoothing"] == 0.25
    assert rows[5]["loss_decrease"] != rows[0]["loss_decrease"]
    for row in rows:
        assert (set(row["languages"]), set(row["unseen"])) == ({"de", "sw"}, {"en"})
        assert np.isfinite(row["general"])
    bench = program.Bench(str(tiny_directory), folder, ("de", "sw"), output.with_suffix(".index"))
    case = bench.case(0.25, 0)
    row_T = torch.arange(len(case.train_T))
    before_T2, margin_T = all_logps(bench.model, case.pairs(row_T)), case.given["loss"]
    np.testing.assert_allclose(margin_T, before_T2[:, 0] - before_T2[:, 1], rtol=1e-3, atol=1e-3)
    lengths_T2 = torch.tensor([[len(ids) for ids in sides] for _, *sides in case.pairs(row_T)])
    per_token_T2 = before_T2 / lengths_T2
    np.testing.assert_allclose(
        case.given["reward-margin"], per_token_T2[:, 0] - per_token_T2[:, 1], rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(case.given["difficulty"], -np.abs(case.given["reward-margin"]))
    text = call("--markdown")
    assert "\n| robust DPO, unfiltered | 42 | 10 | 7 | " in text
    assert ": 16 of its 24 trainings, which are unfiltered; random draw; " in text

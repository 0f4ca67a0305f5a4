"""`congrad filter` on a tiny model: the files that it writes, and what it says."""

import json
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

CHATML = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)
LANGUAGES = ["de", "en", "sw"]
FILES = {
    "index",
    "index/index.json",
    "index/pairs.parquet",
    "index/plan.json",
    "index/sketches-00000.safetensors",
    "scores.parquet",
    "kept.jsonl",
    "dropped.jsonl",
    "languages.json",
    "advice.json",
    "manifest.json",
    "report.html",
}
COLUMNS = ["row", "language", "group", "score", "keep", "reason", "chosen_logp", "rejected_logp"]
COLUMNS += ["chosen_tokens", "rejected_tokens"]


def read_lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def read_json(path: Path) -> dict:
    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def test_a_run_leaves_all_its_files_and_no_other(congrad, pairs_file, tiny_directory, tmp_path, files):
    done = congrad("filter", pairs_file, "--model", tiny_directory, "--output", tmp_path / "run")
    assert done.code == 0, done.err
    assert files(tmp_path / "run") == FILES

    rows = read_lines(pairs_file)
    scores = pq.read_table(tmp_path / "run" / "scores.parquet")
    assert scores.column_names == [*COLUMNS, *(f"cosine_{name}" for name in LANGUAGES)]
    table = scores.to_pydict()
    assert table["row"] == list(range(30))
    assert table["language"] == [row["language"] for row in rows]
    assert {str(scores.schema.field(name).type) for name in ("score", "chosen_logp", "cosine_de")} == {"float"}
    assert all(-1 <= value <= 1 for name in ("score", "cosine_de", "cosine_sw") for value in table[name])
    assert all(value < 0 for name in ("chosen_logp", "rejected_logp") for value in table[name])
    assert [reason == "kept" for reason in table["reason"]] == table["keep"]
    assert set(table["reason"]) == {"kept", "below the keep share"}
    for language in LANGUAGES:  # half of every language, the best
        own = [row for row in range(30) if table["language"][row] == language]
        best = sorted(own, key=lambda row: -table["score"][row])[:5]
        assert sorted(best) == [row for row in own if table["keep"][row]]

    for name, keep in (("kept", True), ("dropped", False)):
        expected = [
            {**row, "congrad_score": pytest.approx(score)}
            for row, score, kept in zip(rows, table["score"], table["keep"], strict=True)
            if kept == keep
        ]
        assert read_lines(tmp_path / "run" / f"{name}.jsonl") == expected

    languages = read_json(tmp_path / "run" / "languages.json")
    assert list(languages) == [
        *("languages", "num_pairs", "cosine", "cosine_interval", "cosine_corrected", "cosine_corrected_interval"),
        *("cosine_smallest", "cosine_after_surgery", "consensus_weights", "verdict", "conflict_min_pairs"),
    ]
    assert languages["languages"] == LANGUAGES
    assert languages["num_pairs"] == [10, 10, 10]
    assert np.shape(languages["cosine"]) == np.shape(languages["cosine_corrected"]) == (3, 3)
    assert np.shape(languages["cosine_interval"]) == (3, 3, 2)
    assert np.shape(languages["consensus_weights"]) == (3,)
    verdicts = languages["verdict"]
    assert [row[i] for i, row in enumerate(verdicts)] == [None] * 3
    assert {word for i, row in enumerate(verdicts) for word in row[:i]} <= {"agree", "conflict", "cannot tell"}
    np.testing.assert_allclose(np.diag(languages["cosine"]), 1)


def test_the_manifest_says_all_that_decided_the_run(congrad, pairs_file, tiny_directory, tmp_path):
    congrad(
        "filter",
        pairs_file,
        "-m",
        tiny_directory,
        "-o",
        tmp_path / "run",
        "input.seed=3",
        "index.seed=3",
        "consensus.seed=3",
        "--keep",
        0.3,
    )
    manifest = read_json(tmp_path / "run" / "manifest.json")
    config = manifest["config"]
    assert config["input"]["source"] == str(pairs_file)
    assert (config["input"]["seed"], config["index"]["seed"], config["consensus"]["seed"]) == (3, 3, 3)
    assert config["model"]["name"] == str(tiny_directory)
    assert config["selection"] == {"keep": 0.3, "min_score": None, "scope": None}
    assert config["loss"]["name"] == "dpo"
    assert manifest["plan"]["dtype"] == "float32"
    assert manifest["plan"]["settings"] == config["index"] | {
        "projection_size": 256,
        "token_budget": 512,
        "route": "packed",
    }
    assert all(len(manifest[key]) == 64 for key in ("data_fingerprint",))
    assert all(len(manifest["plan"][key]) == 64 for key in ("model", "data"))
    assert {"python", "congrad", "torch", "transformers", "datasets"} <= set(manifest["versions"])
    assert (manifest["rows"], manifest["kept"]) == (30, 9)
    assert manifest["reasons"] == {"below the keep share": 21, "kept": 9}
    assert set(manifest["seconds"]) == {"index", "score"}
    assert manifest["peak_memory_bytes"] > 10**7
    assert manifest["fidelity"]["pairs"] == 30
    assert 0 < manifest["fidelity"]["half_size_spearman"] <= manifest["fidelity"]["estimated_spearman"] <= 1
    assert manifest["warnings"] == [
        "fewer than 20 pairs, too few for a meaningful language gradient: de (10), en (10), sw (10)"
    ]


def test_rows_that_cannot_be_scored_are_kept_track_of(congrad, save_rows, make_rows, tiny_directory, tmp_path):
    """One of each reason; a token's embedding that is not a number makes one gradient not finite, and no other."""
    snowman = tmp_path / "snowman"
    shutil.copytree(tiny_directory, snowman)
    token = AutoTokenizer.from_pretrained(snowman)("☃", add_special_tokens=False)["input_ids"][-1]
    weights = load_file(snowman / "model.safetensors")
    weights["model.embed_tokens.weight"][token] = torch.nan
    save_file(weights, snowman / "model.safetensors", {"format": "pt"})

    rows = make_rows(24)
    rows[0]["chosen"] += "☃"  # the first pair of all, which the model is checked on
    rows[2]["rejected"] = rows[2]["chosen"]
    rows[5]["chosen"], rows[5]["rejected"] = "x" * 99 + "a", "x" * 99 + "b"
    rows[9]["rejected"] = ""
    rows[12]["prompt"] = "y" * 99
    source = save_rows(tmp_path / "pairs.jsonl", rows)
    done = congrad("filter", source, "-m", snowman, "-o", tmp_path / "run", "input.max_length=40")
    assert done.code == 0, done.err
    table = pq.read_table(tmp_path / "run" / "scores.parquet").to_pydict()
    reasons = {
        0: "non-finite gradient",
        2: "identical responses",
        5: "identical responses",
        9: "empty response",
        12: "prompt fills the length limit",
    }
    assert {row: reason for row, reason in enumerate(table["reason"]) if reason in reasons.values()} == reasons
    assert [row for row, score in enumerate(table["score"]) if score is None] == list(reasons)
    assert all(table[f"cosine_{name}"][row] is None for name in LANGUAGES for row in reasons)
    assert not any(table["keep"][row] for row in reasons)
    dropped = {row["id"]: row for row in read_lines(tmp_path / "run" / "dropped.jsonl")}
    assert all(dropped[rows[row]["id"]] == {**rows[row], "congrad_score": None} for row in reasons)
    assert len(dropped) + len(read_lines(tmp_path / "run" / "kept.jsonl")) == 24
    manifest = read_json(tmp_path / "run" / "manifest.json")
    assert {reason: manifest["reasons"][reason] for reason in set(reasons.values())} == {
        "non-finite gradient": 1,
        "identical responses": 2,
        "empty response": 1,
        "prompt fills the length limit": 1,
    }
    assert "5 could not be scored (see scores.parquet)" in done.out
    read_json(tmp_path / "run" / "languages.json")


@pytest.fixture
def chat_model(tiny_directory, tmp_path) -> Path:
    """The tiny model with a chat template."""
    directory = tmp_path / "chat"
    shutil.copytree(tiny_directory, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(directory)
    return directory


def as_conversation(row: dict) -> dict:
    roles = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
    return row | {column: [{"role": role, "content": row[column]}] for column, role in roles.items()}


LAYOUTS = {
    "standard": lambda row: row | {"tags": ["a", {"b": None}][:1], "weight": 0.5, "note": None},
    "conversational": as_conversation,
    "implicit prompt": lambda row: {
        "chosen": row["prompt"] + row["chosen"],
        "rejected": row["prompt"] + row["rejected"],
        "language": row["language"],
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kept_pairs_go_into_datasets_and_trl_as_they_are(congrad, save_rows, make_rows, chat_model, tmp_path, layout):
    rows = [LAYOUTS[layout](row) for row in make_rows(12)]
    source = save_rows(tmp_path / "pairs.jsonl", rows)
    done = congrad("filter", source, "-m", chat_model, "-o", tmp_path / "run")
    assert done.code == 0, done.err
    both = []
    for name in ("kept", "dropped"):
        part = datasets.load_dataset("json", data_files=str(tmp_path / "run" / f"{name}.jsonl"), split="train")
        assert part.column_names == [*rows[0], "congrad_score"]
        both += [{key: value for key, value in row.items() if key != "congrad_score"} for row in part]
    assert sorted(map(str, both)) == sorted(map(str, rows))

    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer

    kept = datasets.load_dataset("json", data_files=str(tmp_path / "run" / "kept.jsonl"), split="train")
    options = {"use_cpu": True, "bf16": False, "report_to": []}
    options |= {"gradient_checkpointing": None, "activation_checkpointing": False}  # TRL's default warns
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(chat_model),
        ref_model=AutoModelForCausalLM.from_pretrained(chat_model),
        args=DPOConfig(output_dir=str(tmp_path / "trl"), **options),
        train_dataset=kept,
        processing_class=AutoTokenizer.from_pretrained(chat_model, pad_token="</s>"),
    )
    assert len(trainer.train_dataset) == len(kept) == 6
    assert trainer.data_collator([trainer.train_dataset[0]])["input_ids"].shape[0] == 2


def test_chat_scores_plain_rows_as_conversations(congrad, save_rows, make_rows, chat_model, tmp_path):
    plain = save_rows(tmp_path / "plain.jsonl", make_rows(12))
    talks = save_rows(tmp_path / "talks.jsonl", [as_conversation(row) for row in make_rows(12)])
    for source, *options in ((plain, "input.chat=true"), (talks,), (plain,)):
        target = tmp_path / f"{source.stem}{len(options)}"
        assert congrad("filter", source, "-m", chat_model, "-o", target, *options).code == 0
    scores = [(tmp_path / name / "scores.parquet").read_bytes() for name in ("plain1", "talks0", "plain0")]
    assert scores[0] == scores[1] != scores[2]
    assert read_lines(tmp_path / "plain1" / "kept.jsonl")[0]["prompt"] in {row["prompt"] for row in make_rows(12)}


def test_a_sample_keeps_the_rows_numbers(congrad, pairs_file, tiny_directory, tmp_path):
    done = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "--limit", 9, "input.seed=1")
    assert done.code == 0, done.err
    table = pq.read_table(tmp_path / "run" / "scores.parquet").to_pydict()
    assert len(table["row"]) == 9
    assert table["row"] == sorted(table["row"]) != list(range(9))
    assert sorted(table["language"]) == [name for name in LANGUAGES for _ in range(3)]
    rows = read_lines(pairs_file)
    assert [rows[row]["language"] for row in table["row"]] == table["language"]
    kept = [row["id"] for row in read_lines(tmp_path / "run" / "kept.jsonl")]
    assert kept == [rows[row]["id"] for row, keep in zip(table["row"], table["keep"], strict=True) if keep]


def test_another_column_groups_the_pairs(congrad, save_rows, make_rows, tiny_directory, tmp_path):
    rows = [row | {"task": number % 2} for number, row in enumerate(make_rows(12))]
    source = save_rows(tmp_path / "pairs.jsonl", rows)
    options = ("-m", tiny_directory, "-o", tmp_path / "run", "--language-column", "task")
    assert congrad("filter", source, *options).code == 0
    assert read_json(tmp_path / "run" / "languages.json")["languages"] == ["0", "1"]
    assert "cosine_1" in pq.read_schema(tmp_path / "run" / "scores.parquet").names


def test_a_folder_of_files_per_language_has_the_names_as_languages(
    congrad, save_rows, make_rows, tiny_directory, tmp_path
):
    (tmp_path / "pairs").mkdir()
    for language in ("de", "sw"):
        rows = [{key: row[key] for key in ("prompt", "chosen", "rejected")} for row in make_rows(6, (language,))]
        save_rows(tmp_path / "pairs" / f"{language}.jsonl", rows)
    assert congrad("filter", tmp_path / "pairs", "-m", tiny_directory, "-o", tmp_path / "run").code == 0
    assert read_json(tmp_path / "run" / "languages.json")["num_pairs"] == [6, 6]


def test_one_language_is_filtered_with_a_warning(congrad, save_rows, make_rows, tiny_directory, tmp_path):
    source = save_rows(tmp_path / "pairs.jsonl", make_rows(25, ("de",)))
    done = congrad("filter", source, "-m", tiny_directory, "-o", tmp_path / "run", "-q")
    assert done.code == 0
    assert done.err == "warning: de is the only language, so there is no conflict to remove\n"
    assert "kept 13 of 25 pairs" in done.out  # rounded half up
    assert read_json(tmp_path / "run" / "languages.json")["cosine"] == [[pytest.approx(1)]]


def test_an_own_reference_changes_the_scores_of_a_loss_that_sees_it(congrad, pairs_file, tiny_directory, tmp_path):
    """The tiny model is its own reference; another one shifts the margins, which re-weights the pairs."""
    other = tmp_path / "model"
    shutil.copytree(tiny_directory, other)
    weights = load_file(other / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].flip(0)
    save_file(weights, other / "model.safetensors", {"format": "pt"})
    for name, reference in (("none", []), ("same", ["--reference", tiny_directory]), ("other", ["--reference", other])):
        options = ("-m", tiny_directory, "-o", tmp_path / name, "loss.beta=1", *reference)
        done = congrad("filter", pairs_file, *options)
        assert done.code == 0, done.err
    scores = {
        name: torch.tensor(pq.read_table(tmp_path / name / "scores.parquet")["score"].to_pylist())
        for name in ("none", "same", "other")
    }
    assert (tmp_path / "other" / "index" / "reference-00000.safetensors").exists()
    torch.testing.assert_close(scores["none"], scores["same"], rtol=0, atol=1e-4)
    assert (scores["none"] - scores["other"]).abs().max() > 1e-3
    plans = [read_json(tmp_path / name / "index" / "plan.json")["reference"] for name in ("none", "same", "other")]
    assert plans[0] is None
    assert plans[1] != plans[2]
    wrong = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "other", "--reference", tiny_directory)
    assert wrong.code == 2
    assert "other content of the reference model (model.reference)" in wrong.err
    assert congrad("filter", tmp_path / "other", "loss.name=hinge").code == 0


def test_the_same_command_twice_gives_the_same_bytes(congrad, pairs_file, tiny_directory, tmp_path, monkeypatch):
    monkeypatch.setenv("CONGRAD_BFLOAT16", "slow")  # what is faster is measured, and may differ from run to run
    for name in ("one", "two"):
        assert congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / name, "-q").code == 0
    for file in ("scores.parquet", "kept.jsonl", "dropped.jsonl", "languages.json", "index/sketches-00000.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "seed", "-q", "index.seed=1").code == 0
    assert (tmp_path / "one" / "scores.parquet").read_bytes() != (tmp_path / "seed" / "scores.parquet").read_bytes()


def test_a_finished_run_given_again_only_scores_again(congrad, pairs_file, tiny_directory, tmp_path, monkeypatch):
    command = ("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run")
    assert congrad(*command).code == 0
    before = (tmp_path / "run" / "scores.parquet").read_bytes()
    again = congrad(*command)
    assert again.code == 0
    assert "sketching" not in again.err
    assert (tmp_path / "run" / "scores.parquet").read_bytes() == before
    other = congrad(*command, "index.projection_size=8")
    assert other.code == 2
    assert "index.projection_size 256, now 8" in other.err
    assert read_json(tmp_path / "run" / "manifest.json")["kept"] == 15


def test_the_table_and_the_next_command_are_on_the_screen(congrad, pairs_file, tiny_directory, tmp_path):
    done = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run")
    lines = done.out.splitlines()
    verdict = next(number for number, line in enumerate(lines) if line.startswith("advice: "))
    header, *languages, verdicts, total, fidelity, stability = lines[:verdict]
    assert header.split() == ["language", "pairs", "kept", "mean", "score", "kept", "mean", "lowest", "cosine", "[95%]"]
    assert re.match(r"language pairs: \d conflict, \d agree, \d cannot tell", verdicts)
    assert [line.split()[:3] for line in languages] == [["de", "10", "5"], ["en", "10", "5"], ["sw", "10", "5"]]
    assert total == "kept 15 of 30 pairs"
    assert re.match(r"fidelity: Spearman of about (1\.000|0\.99\d) with the scores of uncompressed gradients", fidelity)
    assert stability.startswith("stability: two halves of the prompts rank the pairs with a Spearman of ")
    lines = done.err.splitlines()
    assert any(line[9:].startswith("30 pairs, ") and " of memory, " in line and "MB of disk" in line for line in lines)
    assert any(line[9:].startswith("sketching: ") and line.endswith(" of 30 pairs") for line in lines)
    assert lines[-2] == f"  congrad filter {tmp_path / 'run'} --keep auto"
    assert lines[-1] == f"report: {tmp_path / 'run' / 'report.html'}"
    quiet = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "quiet", "--quiet")
    assert quiet.out == done.out
    assert [line.split(":")[0] for line in quiet.err.splitlines()] == ["warning"]


def test_a_dry_run_stops_at_the_estimate_and_writes_nothing(congrad, pairs_file, tiny_directory, tmp_path, files):
    before = files(tmp_path)
    done = congrad("filter", pairs_file, "-m", tiny_directory, "-o", tmp_path / "run", "--dry-run")
    assert (done.code, done.out) == (0, "")
    assert "30 pairs, " in done.err
    assert files(tmp_path) == before
    assert not list(Path.cwd().iterdir())


def test_the_default_output_is_named_after_the_data(congrad, pairs_file, tiny_directory, monkeypatch):
    assert congrad("filter", pairs_file, "-m", tiny_directory).code == 0
    assert (Path.cwd() / "runs" / "pairs" / "manifest.json").exists()

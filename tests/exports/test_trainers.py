"""The trainers' own configuration parsers and data code, where they are installed: their token ids are those scored.

None of them is a dependency, and no two of them agree on versions; each test runs where its trainer can be imported.
"""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import pytest
import yaml
from tests.exports.chat_models import LAYOUTS, as_text, odd_pairs, save_chat_model

from congrad.exports import export_run
from congrad.exports.export import Exported
from congrad.exports.layouts import kept_pairs
from congrad.exports.scored import scored
from congrad.filtering.finished import open_run
from congrad.models.load import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # the trainers' own
LENGTH = 4000
CASES = [(layout, kind) for layout in LAYOUTS for kind in ("turns", "text")]


@pytest.fixture(params=CASES, ids=["-".join(case) for case in CASES])
def case(request: pytest.FixtureRequest, make_run, tmp_path: Path) -> tuple[Path, Path]:
    """A run of 200 odd pairs, and its model."""
    layout, kind = request.param
    save_chat_model(tmp_path / layout, layout)
    pairs = odd_pairs(200)
    run = make_run(pairs if kind == "turns" else as_text(pairs), model=str(tmp_path / layout), max_length=LENGTH)
    return run, tmp_path / layout


def expected(run: Path, model: Path, exported: Exported) -> list[tuple[list[int], list[int]]]:
    """Prompt with chosen and prompt with rejected, as scored, of the pairs in the export."""
    left_out = {row.line for row in exported.left_out}
    pairs = [pair for line, pair in enumerate(kept_pairs(open_run(run)), 1) if line not in left_out]
    found = scored(pairs, load_tokenizer(str(model)), LENGTH)
    return [(each.prompt + each.chosen, each.prompt + each.rejected) for each in found]


def check_report(run: Path, model: Path, exported: Exported, rows: Iterable[Any]) -> None:
    """As many pairs have the tokens that were scored as the export says.

    Args:
        rows: with the trainer's ids of prompt with chosen and of prompt with rejected.
    """
    wanted = expected(run, model, exported)
    found = [(list(row["chosen_input_ids"]), list(row["rejected_input_ids"])) for row in rows]
    checked = json.loads((exported.directory / "congrad.json").read_text(encoding="utf-8"))["checked"]
    assert len(found) == len(wanted) == checked["pairs"]
    assert sum(one == other for one, other in zip(wanted, found, strict=True)) == checked["same"]


def words_of(exported: Exported) -> list[str]:
    text = (exported.directory / "train_dpo.sh").read_text(encoding="utf-8").replace("\\\n", " ")
    return shlex.split(text, comments=True)


def test_llamafactory(case, monkeypatch):
    pytest.importorskip("llamafactory", exc_type=ImportError)
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer as load_theirs

    run, model = case
    exported = export_run(run, "llamafactory")
    monkeypatch.chdir(exported.directory)
    settings = yaml.safe_load(Path("train_dpo.yaml").read_text(encoding="utf-8"))
    arguments = get_train_args(settings | {"bf16": False, "use_cpu": True, "overwrite_cache": True})
    model_arguments, data_arguments, training_arguments, *_ = arguments
    theirs = load_theirs(model_arguments)
    template = get_template_and_fix_tokenizer(theirs["tokenizer"], data_arguments)
    made = get_dataset(template, model_arguments, data_arguments, training_arguments, stage="rm", **theirs)
    check_report(run, model, exported, made["train_dataset"])


def test_ms_swift(case, monkeypatch):
    pytest.importorskip("swift.arguments", exc_type=ImportError)
    from swift.arguments import RLHFArguments
    from swift.dataset import load_dataset
    from swift.utils import parse_args

    run, model = case
    exported = export_run(run, "ms-swift")
    monkeypatch.chdir(exported.directory)
    words = words_of(exported)
    arguments, rest = parse_args(RLHFArguments, words[words.index("rlhf") + 1 :])
    assert rest == []
    _, processor = arguments.get_model_processor(load_model=False)
    template = arguments.get_template(processor)
    template.set_mode("rlhf")
    rows, _ = load_dataset(arguments.dataset, shuffle=False, use_hf=True)
    check_report(run, model, exported, [template.encode(dict(row)) for row in rows])


def test_openrlhf(case, monkeypatch):
    pytest.importorskip("openrlhf.datasets.reward_dataset", exc_type=ImportError)
    from openrlhf.datasets.reward_dataset import RewardDataset

    run, model = case
    exported = export_run(run, "openrlhf")
    words = words_of(exported)
    data = {key: words[words.index(f"--data.{key}") + 1] for key in ("prompt_key", "chosen_key", "rejected_key")}
    data["apply_chat_template"] = "--data.apply_chat_template" in words
    length = int(words[words.index("--data.max_len") + 1])
    rows = datasets.load_dataset("json", data_files=str(exported.directory / "kept.jsonl"), split="train")
    strategy = SimpleNamespace(args=SimpleNamespace(data=SimpleNamespace(**data)))
    made = RewardDataset(rows, load_tokenizer(str(model)), length, strategy, is_dpo=True, num_processors=1)
    items = [made[number] for number in range(len(made))]
    ids = [{"chosen_input_ids": item[0][0].tolist(), "rejected_input_ids": item[2][0].tolist()} for item in items]
    check_report(run, model, exported, ids)


def test_axolotl(case, monkeypatch):
    """Its data code gives TRL's trainer the rows as they are."""
    pytest.importorskip("axolotl.utils.data.rl", exc_type=ImportError)
    from axolotl.utils.config import validate_config
    from axolotl.utils.data.rl import prepare_preference_datasets
    from axolotl.utils.dict import DictDefault

    run, model = case
    exported = export_run(run, "axolotl")
    monkeypatch.chdir(exported.directory)
    settings = yaml.safe_load(Path("train_dpo.yaml").read_text(encoding="utf-8"))
    config = validate_config(DictDefault(settings | {"bf16": False, "tokenizer_config": str(model)}))
    rows, _ = prepare_preference_datasets(config, load_tokenizer(str(model)))
    wanted = datasets.load_dataset("json", data_files="kept.jsonl", split="train")
    assert len(rows) == exported.num_pairs
    assert sorted(map(repr, rows)) == sorted(map(repr, wanted))  # it shuffles them

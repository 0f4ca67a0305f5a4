"""Building the index: what is in it, that it resumes to the same bytes, and what it refuses."""

import errno
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertLMHeadModel, BloomConfig, BloomForCausalLM, LlamaConfig, LlamaForCausalLM

from congrad.errors import UserError
from congrad.gradients import build_index, check, open_index
from congrad.gradients.build import make_plan, packed_lengths, packs_of, pairs_fingerprint
from congrad.gradients.general import general_sketcher
from congrad.gradients.packing import pack
from congrad.gradients.sketch import sketcher
from congrad.models.identity import fingerprint
from congrad.models.load import load_model
from congrad.progress import Progress
from congrad.settings.index import PassSettings

SETTINGS = PassSettings(projection_size=3, token_budget=64)
SHAPE = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
NAMES = [f"sketches-{number:05d}.safetensors" for number in range(4)]


@pytest.fixture
def model(tiny_model):
    return tiny_model()


def test_index_holds_every_pair_in_input_order(tmp_path, model, many_pairs, relative_error):
    pairs = many_pairs(100)
    index = build_index(model, pairs, tmp_path, SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.json", "pairs.parquet", "plan.json", *NAMES]
    assert index.positions_P.tolist() == list(range(100))
    with sketcher(model, size=3, seed=0) as sketch:
        for i in range(0, 100, 7):
            alone = sketch(pack([(pairs.prompt_ids[i], pairs.chosen_ids[i], pairs.rejected_ids[i])], "sum"))
            stored = index[i : i + 1].float() * index.scales_P[i]
            assert relative_error(stored, alone.sketches_BD) < 1e-3  # float16
            torch.testing.assert_close(index.policy_logps_P2[i], alone.logps_B2[0], rtol=1e-5, atol=1e-4)


def test_pairs_table_keeps_every_row(tmp_path, model, random_pair, tokenised):
    empty = np.array([], dtype=np.int32)
    usable = [random_pair(seed, 4, 5, 6) for seed in range(3)]
    usable[2] = (usable[0][0], *usable[2][1:])  # the prompt of the first, in another language
    triples = [usable[0], (usable[0][0], empty, usable[0][2]), usable[1], (usable[1][0],) * 3, usable[2], usable[0]]
    reasons = ["", "empty response", "", "identical responses", "", ""]
    index = build_index(model, tokenised(triples, reasons), tmp_path, SETTINGS)
    table = index.pairs.to_pydict()
    assert table == {
        "row": [0, 1, 2, 3, 4, 5],
        "language": ["de", "sw", "th", "de", "sw", "th"],
        "group": [0, 1, 2, 3, 1, 4],  # distinct prompts of each language; that of rows 1 and 4 is the same
        "reason": reasons,
        "chosen_tokens": [5, 0, 5, 4, 5, 5],
        "rejected_tokens": [6, 6, 6, 4, 6, 6],
    }
    assert index.positions_P.tolist() == [0, 2, 4, 5]
    assert len(index) == index.plan["num_pairs"] == 4
    assert index.plan["num_rows"] == 6
    assert torch.equal(index[0:1], index[3:4])  # rows 0 and 5 are the same pair


def test_no_usable_pair_gives_an_empty_index(tmp_path, model, random_pair, tokenised):
    triples = [(random_pair(0, 3, 4, 4)[0],) * 3]
    for number, pairs in enumerate((tokenised(triples, ["identical responses"]), tokenised([]))):
        index = build_index(model, pairs, tmp_path / str(number), SETTINGS)
        assert index[:].shape == index.shape == (0, 9)
        assert index.scales_P.shape == index.positions_P.shape == (0,)
        assert index.policy_logps_P2.shape == index.reference_logps_P2.shape == (0, 2)
        assert index.pairs.num_rows == len(pairs)


def test_normalised_index_holds_the_difference_of_means(tmp_path, model, many_pairs, relative_error):
    pairs = many_pairs(3)
    settings = PassSettings(projection_size=3, normalise="mean")
    index = build_index(model, pairs, tmp_path, settings)
    with sketcher(model, size=3, seed=0) as sketch:
        triples = list(zip(pairs.prompt_ids, pairs.chosen_ids, pairs.rejected_ids, strict=True))
        expected = sketch(pack(triples, "mean")).sketches_BD
    assert relative_error(index[:].float() * index.scales_P[:, None], expected) < 1e-3


def test_reference_log_probabilities_are_kept(tmp_path, model, tiny_model, many_pairs, plain_logp):
    pairs, reference = many_pairs(40), tiny_model("qwen3", seed=1)
    index = build_index(
        model, pairs, tmp_path, SETTINGS, reference=lambda: reference, reference_fingerprint=fingerprint(reference)
    )
    assert {path.name for path in tmp_path.glob("reference-*")} == {f"reference-0000{i}.safetensors" for i in (0, 1)}
    for i in (0, 13, 39):
        for side, ids in enumerate((pairs.chosen_ids[i], pairs.rejected_ids[i])):
            for found, by in ((index.policy_logps_P2, model), (index.reference_logps_P2, reference)):
                assert found[i, side].item() == pytest.approx(plain_logp(by, pairs.prompt_ids[i], ids).item(), rel=1e-4)


def test_policy_is_its_own_reference_by_default(tmp_path, model, many_pairs):
    index = build_index(model, many_pairs(5), tmp_path, SETTINGS)
    assert index.plan["reference"] is None
    assert torch.equal(index.reference_logps_P2, index.policy_logps_P2)


def test_progress_adds_up(tmp_path, model, tiny_model, many_pairs):
    pairs, seen = many_pairs(100), []
    tokens = int(packed_lengths(pairs).sum())
    build_index(
        model,
        pairs,
        tmp_path,
        SETTINGS,
        reference=lambda: tiny_model(seed=1),
        reference_fingerprint="another",
        on_progress=seen.append,
    )
    for stage in ("sketching", "reference model"):
        of_stage = [progress for progress in seen if progress.stage == stage]
        assert {progress.work[1] for progress in of_stage} == {tokens}
        assert [p.work[0] for p in of_stage] == sorted({p.work[0] for p in of_stage})
        assert of_stage[-1] == Progress(stage, 100, 100, "pairs", work=(tokens, tokens))
    (tmp_path / NAMES[1]).unlink()
    resumed = []
    build_index(
        model,
        pairs,
        tmp_path,
        SETTINGS,
        reference=lambda: tiny_model(seed=1),
        reference_fingerprint="another",
        on_progress=resumed.append,
    )
    again = int(packed_lengths(pairs)[32:64].sum())
    assert resumed[-1] == Progress("sketching", 32, 32, "pairs", work=(again, again))


def test_packs_hold_every_pair_once_within_the_budget():
    lengths = np.array([5, 0, 9, 30, 1, 7, 0, 9, 2])
    packs = list(packs_of(np.flatnonzero(lengths), lengths, 12))
    assert packs == [[3], [2], [7], [5, 0], [8, 4]]  # 30 is over the budget and goes alone
    assert list(packs_of(np.array([], dtype=int), lengths, 12)) == []


# Resuming


@pytest.fixture
def undisturbed(tmp_path, model, many_pairs, contents):
    directory = tmp_path / "undisturbed"
    build_index(model, many_pairs(100), directory, SETTINGS)
    return contents(directory)


@pytest.mark.parametrize("lost", [[0], [3], [1, 2], [0, 1, 2, 3]])
def test_lost_shards_come_back_to_the_byte(tmp_path, model, many_pairs, contents, undisturbed, lost):
    directory = tmp_path / "index"
    build_index(model, many_pairs(100), directory, SETTINGS)
    (directory / "index.json").unlink()
    for number in lost:
        (directory / NAMES[number]).unlink()
    kept = {path.name: path.stat().st_mtime_ns for path in directory.glob("*")}
    build_index(model, many_pairs(100), directory, SETTINGS)
    assert contents(directory) == undisturbed
    assert kept.items() <= {path.name: path.stat().st_mtime_ns for path in directory.glob("*")}.items()


def test_lost_pairs_table_comes_back(tmp_path, model, many_pairs, contents, undisturbed):
    directory = tmp_path / "index"
    build_index(model, many_pairs(100), directory, SETTINGS)
    (directory / "pairs.parquet").unlink()
    build_index(model, many_pairs(100), directory, SETTINGS)
    assert contents(directory) == undisturbed


def test_interruptions_everywhere_change_nothing(tmp_path, model, many_pairs, contents, undisturbed):
    """Ctrl-C in every third pack, over and over, until the index is there."""
    directory, attempts = tmp_path / "index", 0
    total = len(undisturbed) - 2

    def interrupt(progress: Progress) -> None:
        if next(packs) == 9:
            raise KeyboardInterrupt

    while True:
        packs, before = iter(range(1000)), len(list(directory.glob("sketches-*")))
        try:
            build_index(model, many_pairs(100), directory, SETTINGS, on_progress=interrupt)
            break
        except KeyboardInterrupt:
            assert not (directory / "index.json").exists()
            assert len(list(directory.glob("sketches-*"))) >= before
            with pytest.raises(UserError, match="unfinished"):
                open_index(directory)
        attempts += 1
        assert attempts < 20, "no headway"
    assert attempts >= total // 2
    assert contents(directory) == undisturbed


def test_leftovers_of_a_killed_run_do_not_matter(tmp_path, model, many_pairs, contents, undisturbed):
    """Killed before the plan was written: half-written temporary files."""
    directory = tmp_path / "index"
    directory.mkdir()
    for name in ("pairs.parquet", "plan.json", *NAMES[1:3]):
        (directory / f".{name}.{secrets.token_hex(8)}").write_bytes(b"half")
    index = build_index(model, many_pairs(100), directory, SETTINGS)
    assert contents(directory) == undisturbed
    assert not list(directory.glob(".*"))
    assert len(index) == 100


def test_finished_index_is_left_alone(tmp_path, model, many_pairs):
    build_index(model, many_pairs(40), tmp_path, SETTINGS)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()}
    build_index(model, many_pairs(40), tmp_path, SETTINGS, on_progress=lambda progress: pytest.fail("worked"))
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()} == before


def test_killed_build_resumes_to_the_byte(tmp_path, saved_case, builder, contents, many_pairs):
    """SIGKILL after the first shard: what is there stays, at most one shard's work is done again."""
    directory, environment = tmp_path / "index", os.environ | {"OMP_NUM_THREADS": "1"}
    slow = [sys.executable, builder, str(saved_case), str(directory), "0.05"]
    with subprocess.Popen(slow, env=environment) as process:
        deadline = time.monotonic() + 120
        while not list(directory.glob("sketches-*")):
            assert process.poll() is None, "the build ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    survivors = {path.name: path.read_bytes() for path in directory.glob("sketches-*")}
    assert 1 <= len(survivors) < 5
    assert not (directory / "index.json").exists()
    model, pairs, again = load_model(str(saved_case / "model")), many_pairs(150), []
    build_index(model, pairs, directory, SETTINGS, on_progress=again.append)
    assert again[-1].done == 150 - 32 * len(survivors)
    build_index(model, pairs, tmp_path / "undisturbed", SETTINGS)
    assert contents(directory) == contents(tmp_path / "undisturbed")
    assert survivors.items() <= contents(directory).items()


# The route


@pytest.fixture
def odd_model(tiny_model):
    """What packing does not fit."""
    config = BloomConfig(vocab_size=61, hidden_size=32, n_layer=2, n_head=4, bos_token_id=1, eos_token_id=2)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BloomForCausalLM(config).requires_grad_(False).eval()


def test_what_packing_does_not_fit_takes_the_general_pass_and_says_so_once(
    tmp_path, odd_model, many_pairs, relative_error
):
    pairs, notes = many_pairs(40), []
    index = build_index(odd_model, pairs, tmp_path, SETTINGS, on_note=notes.append)
    assert index.plan["settings"]["route"] == "general"
    note, outside = notes
    assert "of the squared gradient is outside" in outside
    assert note.startswith("BloomForCausalLM takes the general pass, in 1.1 to 1.7 times the packed one's")
    triples = list(zip(pairs.prompt_ids, pairs.chosen_ids, pairs.rejected_ids, strict=True))
    with general_sketcher(odd_model, size=3, seed=0) as sketch:
        expected = sketch(triples)
    assert relative_error(index[:].float() * index.scales_P[:, None], expected.sketches_BD) < 1e-3
    torch.testing.assert_close(index.policy_logps_P2, expected.logps_B2)


def test_an_index_goes_on_in_the_pass_that_began_it(tmp_path, odd_model, many_pairs, contents):
    whole, part, pairs, notes = tmp_path / "whole", tmp_path / "part", many_pairs(100), []
    build_index(odd_model, pairs, whole, SETTINGS)
    build_index(odd_model, pairs, part, SETTINGS)
    for name in ("index.json", NAMES[0], NAMES[2]):
        (part / name).unlink()
    build_index(odd_model, pairs, part, SETTINGS, on_note=notes.append)
    assert contents(part) == contents(whole)
    assert notes == []
    message = refusal(odd_model, pairs, part, replace(SETTINGS, route="packed"))
    assert message == f'{part} was begun with index.route "general", now "packed"; {RESTORE}'


def test_the_general_pass_may_be_asked_for(tmp_path, model, many_pairs, relative_error):
    packed = build_index(model, many_pairs(40), tmp_path / "packed", SETTINGS)
    general = build_index(model, many_pairs(40), tmp_path / "general", replace(SETTINGS, route="general"))
    assert (packed.plan["settings"]["route"], general.plan["settings"]["route"]) == ("packed", "general")
    assert relative_error(general[:].float(), packed[:].float()) < 1e-3  # float16
    torch.testing.assert_close(general.scales_P, packed.scales_P, rtol=1e-4, atol=0)


def test_an_index_from_before_there_was_a_route_goes_on(tmp_path, model, many_pairs, contents):
    whole, old, pairs = tmp_path / "whole", tmp_path / "old", many_pairs(100)
    build_index(model, pairs, whole, SETTINGS)
    build_index(model, pairs, old, SETTINGS)
    plan = json.loads((old / "plan.json").read_text())
    del plan["settings"]["route"], plan["tied"]
    (old / "plan.json").write_text(json.dumps(plan))
    assert open_index(old).plan == open_index(whole).plan
    for name in ("index.json", NAMES[1]):
        (old / name).unlink()
    build_index(model, pairs, old, SETTINGS)
    assert contents(old).keys() == contents(whole).keys()
    assert all(contents(old)[name] == contents(whole)[name] for name in [*NAMES, "pairs.parquet"])


def test_an_unfinished_index_from_before_is_not_continued_where_packing_does_not_fit(tmp_path, odd_model, many_pairs):
    build_index(odd_model, many_pairs(5), tmp_path, SETTINGS)
    plan = json.loads((tmp_path / "plan.json").read_text())
    del plan["settings"]["route"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    assert len(build_index(odd_model, many_pairs(5), tmp_path, SETTINGS)) == 5, "a finished one is opened"
    (tmp_path / "index.json").unlink()
    message = refusal(odd_model, many_pairs(5), tmp_path, SETTINGS)
    assert message == f'{tmp_path} was begun with index.route "packed", now "general"; {RESTORE}'


def test_a_reference_that_packing_does_not_fit_takes_both_through_the_general_pass(
    tmp_path, model, odd_model, many_pairs, plain_logp
):
    pairs, notes = many_pairs(5), []
    index = build_index(
        model,
        pairs,
        tmp_path,
        SETTINGS,
        reference=lambda: odd_model,
        reference_fingerprint="another",
        on_note=notes.append,
    )
    assert index.plan["settings"]["route"] == "general"
    assert [note.split()[0] for note in notes if "outside" not in note] == ["BloomForCausalLM"]
    for side, ids in enumerate((pairs.chosen_ids[3], pairs.rejected_ids[3])):
        expected = plain_logp(odd_model, pairs.prompt_ids[3], ids).item()
        assert index.reference_logps_P2[3, side].item() == pytest.approx(expected, rel=1e-4)


def test_a_reference_is_checked_before_anything_is_written(tmp_path, model, many_pairs):
    shape = {"num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = BertLMHeadModel(BertConfig(vocab_size=61, hidden_size=32, initializer_range=0.2, **shape)).eval()
    small = LlamaForCausalLM(LlamaConfig(**{**SHAPE, "vocab_size": 50})).eval()
    for reference, words in ((encoder, "reads ahead as it is loaded"), (small, "has 50 tokens, and the pairs hold")):
        loaded = reference.requires_grad_(False)
        options = {"reference": lambda loaded=loaded: loaded, "reference_fingerprint": "another"}
        assert words in refusal(model, many_pairs(20), tmp_path / "index", SETTINGS, **options)
        assert not (tmp_path / "index").exists()


# What is refused

RESTORE = "restore the old setting, or choose another output directory"


@pytest.fixture
def built(tmp_path, model, many_pairs):
    directory = tmp_path / "index"
    build_index(model, many_pairs(5), directory, SETTINGS)
    return directory


def refusal(*arguments, **options):
    with pytest.raises(UserError) as raised:
        build_index(*arguments, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_index_of_another_model_is_refused(built, tiny_model, many_pairs, contents):
    before = contents(built)
    assert refusal(tiny_model(seed=1), many_pairs(5), built, SETTINGS) == (
        f"{built} was begun with other content of the model (model.name, model.adapter); {RESTORE}"
    )
    assert contents(built) == before


def test_index_of_another_precision_is_refused(built, model, many_pairs):
    """The weights' bits differ too: what is named is what the person changed."""
    assert refusal(model.to(torch.bfloat16), many_pairs(5), built, SETTINGS) == (
        f'{built} was begun with model.dtype "float32", now "bfloat16"; {RESTORE}'
    )


def test_index_of_other_data_is_refused(built, model, many_pairs):
    for change in ("rows", "languages", "tokens", "count"):
        pairs = many_pairs(6 if change == "count" else 5)
        if change == "rows":
            pairs.rows[4] = 7
        elif change == "languages":
            pairs.languages[2] = "yo"
        elif change == "tokens":
            pairs.rejected_ids[3][0] ^= 1
        assert refusal(model, pairs, built, SETTINGS) == (
            f"{built} was begun with other content of the tokenised pairs (the section input); {RESTORE}"
        )


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"projection_size": 4}, "index.projection_size 3, now 4"),
        ({"seed": 5}, "index.seed 0, now 5"),
        ({"layers": "upper"}, 'index.layers null, now "upper"'),
        ({"normalise": "mean"}, 'index.normalise "sum", now "mean"'),
        ({"token_budget": 65}, "index.token_budget 64, now 65"),
        ({"route": "general"}, 'index.route "packed", now "general"'),
    ],
)
def test_index_of_other_settings_is_refused(built, model, many_pairs, change, detail):
    settings = PassSettings(**({"projection_size": 3, "token_budget": 64} | change))
    assert refusal(model, many_pairs(5), built, settings) == f"{built} was begun with {detail}; {RESTORE}"


def test_index_of_another_reference_is_refused(built, model, many_pairs):
    message = refusal(
        model, many_pairs(5), built, SETTINGS, reference=lambda: pytest.fail("loaded"), reference_fingerprint="another"
    )
    assert message == (f'{built} was begun with the reference model (model.reference) null, now "another"; {RESTORE}')


def test_unfinished_index_is_checked_too(built, tiny_model, many_pairs, monkeypatch):
    """And before any work."""
    monkeypatch.setattr("congrad.gradients.build.check_start", lambda *_: pytest.fail("the model was run"))
    (built / "index.json").unlink()
    assert "other content of the model" in refusal(tiny_model(seed=1), many_pairs(5), built, SETTINGS)


def test_damaged_shard_is_named_and_rebuilt_once_deleted(built, model, many_pairs, contents):
    before, path = contents(built), built / NAMES[0]
    path.write_bytes(path.read_bytes()[:200])
    assert f"{path}: unreadable" in refusal(model, many_pairs(5), built, SETTINGS)
    path.unlink()
    build_index(model, many_pairs(5), built, SETTINGS)
    assert contents(built) == before


def test_directory_that_cannot_be_made_is_refused(tmp_path, model, many_pairs):
    (tmp_path / "file").touch()
    assert "is a file; name a directory" in refusal(model, many_pairs(5), tmp_path / "file", SETTINGS)
    assert "cannot be written" in refusal(model, many_pairs(5), tmp_path / "file" / "index", SETTINGS)


@pytest.mark.parametrize("failing", ["pairs.parquet", "plan.json", NAMES[0], NAMES[1], "index.json"])
def test_full_disk_leaves_a_run_that_resumes(tmp_path, model, many_pairs, contents, undisturbed, failing, monkeypatch):
    """Whichever file is the first that does not fit: one line, no half file, and on with it once there is room."""
    directory, room = tmp_path / "index", False
    fsync, write_table = os.fsync, __import__("pyarrow.parquet").parquet.write_table

    def full(path):
        if not room and failing in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")

    def fsync_with_limit(descriptor):
        full(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    def write_table_with_limit(table, path):
        write_table(table, path)
        full(path)

    monkeypatch.setattr("os.fsync", fsync_with_limit)
    monkeypatch.setattr("pyarrow.parquet.write_table", write_table_with_limit)
    message = refusal(model, many_pairs(100), directory, SETTINGS)
    assert message.startswith(f"{directory / failing}: cannot write (")
    assert "No space left on device" in message
    assert message.endswith("free some space or choose another output directory")
    assert not list(directory.glob(".*"))
    assert not (directory / failing).exists()
    room = True
    build_index(model, many_pairs(100), directory, SETTINGS)
    assert contents(directory) == undisturbed


def test_out_of_memory_names_the_mend(tmp_path, model, many_pairs, monkeypatch):
    def run_out(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation")

    monkeypatch.setattr("congrad.gradients.sketch.Recorder.sketches", run_out)
    message = refusal(model, many_pairs(5), tmp_path / "index", SETTINGS)
    assert message == "out of memory on cpu; lower index.token_budget (64) or input.max_length"


FORMS_OF_IT = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee documentation"),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
    MemoryError(),
]


@pytest.mark.parametrize("error", FORMS_OF_IT, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["check.own_logits", "check.packed_by_side", "general.GradientTaker.take"])
def test_out_of_memory_in_the_check_names_the_mend(tmp_path, model, many_pairs, monkeypatch, where, error):
    def run_out(*arguments, **options):
        raise error

    monkeypatch.setattr(f"congrad.gradients.{where}", run_out)
    message = refusal(model, many_pairs(5), tmp_path / "index", SETTINGS)
    assert message == "out of memory on cpu; lower index.token_budget (64) or input.max_length"
    assert not (tmp_path / "index").exists()


def test_out_of_memory_on_a_long_pair_alone_names_the_mend(tmp_path, model, many_pairs, random_pair, monkeypatch):
    """The first tokens fit, and the longest pair does not: neither in the packed pass nor in the general one."""
    real, pairs = check.own_logits, many_pairs(5)
    pairs.prompt_ids[2], pairs.chosen_ids[2], pairs.rejected_ids[2] = random_pair(1, 30, 9, 8)

    def run_out(model, ids_BT, num_last):
        if ids_BT.shape[1] > 24:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4096 bytes.")
        return real(model, ids_BT, num_last)

    monkeypatch.setattr(check, "own_logits", run_out)
    fix = "lower index.token_budget (64) or input.max_length"
    assert refusal(model, pairs, tmp_path / "index", SETTINGS) == f"out of memory on cpu; {fix}"
    settings = replace(SETTINGS, route="general")
    assert refusal(model, pairs, tmp_path / "index", settings) == "out of memory on cpu; lower input.max_length"


def test_other_errors_of_the_pass_are_not_taken_for_it(tmp_path, model, many_pairs, monkeypatch):
    def broken(*arguments):
        raise RuntimeError("a bug")

    monkeypatch.setattr("congrad.gradients.general.GradientTaker.take", broken)
    with pytest.raises(UserError, match=r"its own backward pass fails \(a bug\)"):
        build_index(model, many_pairs(5), tmp_path / "index", SETTINGS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"projection_size": 0}, "index.projection_size 0: must be 1 or more"),
        ({"normalise": "max"}, "index.normalise 'max': must be sum or mean"),
        ({"token_budget": 0}, "index.token_budget 0: must be 1 or more"),
    ],
)
def test_settings_check_themselves(change, message):
    with pytest.raises(UserError, match=message):
        PassSettings(**change)


# The plan


def test_plan_depends_on_the_device_by_its_budget_alone(model, many_pairs):
    plan = make_plan(many_pairs(5), model, PassSettings(), model_fingerprint="m", reference=None)
    assert plan["settings"]["token_budget"] == 512
    assert json.loads(json.dumps(plan)) == plan
    assert plan["num_weights"] == sum(
        p.numel() for name, p in model.named_parameters() if "_proj" in name and name.endswith("weight")
    )


def test_fingerprint_of_the_data_keeps_fields_apart(many_pairs, tokenised):
    """Tokens that move from one side to the next are other data."""
    ids = [np.array(tokens, dtype=np.int32) for tokens in ([1], [2, 3], [4], [1, 2], [3])]
    one, other = tokenised([(ids[0], ids[1], ids[2])]), tokenised([(ids[3], ids[4], ids[2])])
    assert pairs_fingerprint(one) != pairs_fingerprint(other)
    wide = tokenised([tuple(part.astype(np.int64) for part in (ids[0], ids[1], ids[2]))])
    assert pairs_fingerprint(one) == pairs_fingerprint(wide)

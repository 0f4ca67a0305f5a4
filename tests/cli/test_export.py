"""`congrad export`, and `congrad filter --format`, on a run of a tiny model."""

import pytest


@pytest.fixture
def run(congrad, pairs_file, tiny_directory, tmp_path):
    done = congrad("filter", pairs_file, "--model", tiny_directory, "--output", tmp_path / "run", "--quiet")
    assert done.code == 0, done.err
    return tmp_path / "run"


def test_an_export_names_the_command_that_trains(congrad, run):
    done = congrad("export", run, "--format", "llamafactory")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        f"15 pairs for llamafactory in {run / 'llamafactory'}",
        "  The template `empty` adds no BOS and no EOS token: where the pairs were scored with them, they are written "
        "in the text. Use the tokenizer of this model alone.",
        "  checked 15 pairs: all have the tokens that were scored",
        f"  cd {run / 'llamafactory'} && llamafactory-cli train train_dpo.yaml",
    ]
    assert (run / "llamafactory" / "kept.jsonl").is_file()


def test_filtering_exports_when_asked(congrad, pairs_file, tiny_directory, tmp_path):
    run = tmp_path / "run"
    done = congrad("filter", pairs_file, "--model", tiny_directory, "--output", run, "--format", "ms-swift")
    assert done.code == 0, done.err
    assert f"15 pairs for ms-swift in {run / 'ms-swift'}" in done.out
    assert "--beta 0.1" in (run / "ms-swift" / "train_dpo.sh").read_text(encoding="utf-8")


def test_an_unknown_format_is_refused_before_anything_is_loaded(congrad, pairs_file, tmp_path):
    done = congrad("filter", pairs_file, "--model", "no/such-model", "--output", tmp_path / "run", "--format", "trk")
    assert done.code == 2
    assert done.err.startswith("congrad: --format 'trk': choose from trl")


def test_filtering_anew_says_which_exports_it_leaves_behind(congrad, run):
    assert congrad("export", run).code == 0
    done = congrad("filter", run, "--keep", "0.3")
    assert done.code == 0
    assert f"{run / 'trl'} holds the pairs of an earlier selection; congrad export {run} --format trl" in done.err
    again = congrad("filter", run, "--keep", "0.4", "--format", "trl")
    assert "earlier selection" not in again.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--public"], "--public would be ignored"),
        (["--push-to-hub", "me/kept"], "the hub cannot be reached"),
    ],
    ids=["public alone", "offline"],
)
def test_a_mistake_is_one_line(congrad, run, arguments, complaint):
    done = congrad("export", run, *arguments)
    assert done.code == 2
    assert complaint in done.err
    assert len(done.err.splitlines()) == 1

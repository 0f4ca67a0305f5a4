"""The index as a store: what rounding costs, and reading it back by slices."""

import errno
import json
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from congrad.errors import UserError
from congrad.files import write_atomically
from congrad.gradients import build_index, open_index
from congrad.gradients.index import encode, shards_of, write_tensors
from congrad.settings.index import PassSettings


def draw(pairs, dims, seed=0):
    return torch.randn(pairs, dims, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("magnitude", [1e-30, 1e-6, 1.0, 1e6, 1e30])
def test_rounding_error_is_that_of_float16(magnitude):
    """2^-11 of every entry that is not tiny, whatever the gradient's size."""
    sketches = draw(5, 4096) * magnitude
    unit, scales = encode(sketches)
    assert unit.dtype == torch.float16
    assert scales.dtype == torch.float32
    torch.testing.assert_close(unit.float().square().mean(1).sqrt(), torch.ones(5), rtol=1e-3, atol=0)
    error = (unit.double() * scales[:, None].double() - sketches.double()).abs()
    assert (error <= sketches.double().abs() * 2**-11 * 1.001 + magnitude * 1e-7).all()
    assert (torch.cosine_similarity(unit.double(), sketches.double() / magnitude) > 1 - 1e-6).all()


def test_sketch_in_a_single_entry_fits_float16():
    sketches = torch.zeros(1, 300 * 256)
    sketches[0, 7] = 5.0
    unit, scales = encode(sketches)
    assert unit.isfinite().all()
    assert (unit.float() * scales[:, None])[0, 7].item() == pytest.approx(5.0, rel=1e-3)


def test_zero_and_non_finite_sketches_are_zeros_with_a_telling_scale():
    sketches = draw(4, 8)
    sketches[1] = 0
    sketches[2, 3] = torch.nan
    sketches[3, 5] = torch.inf
    unit, scales = encode(sketches)
    assert unit[0].ne(0).any()
    assert unit[1:].eq(0).all()
    assert scales[1] == 0
    assert scales[2:].isnan().all()


@pytest.mark.parametrize(("num_pairs", "sizes"), [(0, []), (1, [1]), (32, [32]), (33, [32, 1]), (70, [32, 32, 6])])
def test_shards_cover_the_pairs_in_order(num_pairs, sizes):
    shards = shards_of({"num_pairs": num_pairs, "shard_pairs": 32})
    assert [shard.stop - shard.start for shard in shards] == sizes
    assert [i for shard in shards for i in range(shard.start, shard.stop)] == list(range(num_pairs))
    assert [shard.number for shard in shards] == list(range(len(sizes)))


@pytest.fixture
def built(tmp_path, tiny_model, many_pairs):
    """70 pairs in shards of 32."""
    return build_index(tiny_model(), many_pairs(70), tmp_path / "index", PassSettings(projection_size=3))


def test_index_reads_as_a_matrix(built):
    whole = built[:]
    assert whole.dtype == torch.float16
    assert whole.shape == built.shape == (70, 9)
    assert len(built) == 70
    for rows in (
        slice(0, 5),
        slice(31, 33),
        slice(32, 64),
        slice(0, 64),
        slice(60, 70),
        slice(60, 999),
        slice(-3, None),
    ):
        assert torch.equal(built[rows], whole[rows])
    assert built[5:5].shape == built[70:].shape == built[9:4].shape == (0, 9)


def test_index_reads_on_from_where_it_lies(built):
    again = open_index(str(built.directory))
    assert torch.equal(again[:], built[:])
    assert again.plan == built.plan
    assert again.pairs.equals(built.pairs)
    for name in ("positions_P", "scales_P", "policy_logps_P2", "reference_logps_P2"):
        assert torch.equal(getattr(again, name), getattr(built, name))


def test_missing_index_is_refused(tmp_path):
    with pytest.raises(UserError, match=f"{tmp_path}/index: no gradient index; run `congrad filter") as raised:
        open_index(tmp_path / "index")
    assert "\n" not in str(raised.value)


def test_unfinished_index_is_refused(built):
    (built.directory / "index.json").unlink()
    with pytest.raises(UserError, match="the gradient index is unfinished; run `congrad filter"):
        open_index(built.directory)


@pytest.mark.parametrize("keep", [0, 5, 100, -1])
def test_truncated_shard_is_refused_and_named(built, keep):
    path = built.directory / "sketches-00001.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"sketches-00001.safetensors: unreadable .*; delete it and run the same"):
        open_index(built.directory)


@pytest.mark.parametrize("name", ["sketches-00002.safetensors", "pairs.parquet"])
@pytest.mark.parametrize("damage", ["missing", "not what it says"])
def test_missing_and_damaged_files_are_refused_and_named(built, name, damage):
    path = built.directory / name
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"something else" * 10)
    with pytest.raises(UserError, match=f"{name}: unreadable .*; delete it and run the same command again") as raised:
        open_index(built.directory)
    assert "\n" not in str(raised.value)


def test_damaged_plan_is_refused(built):
    (built.directory / "plan.json").write_text("{")
    with pytest.raises(UserError, match=r"plan.json cannot be read .*; filter the data again"):
        open_index(built.directory)


def test_format_of_another_version_is_refused(built):
    (built.directory / "plan.json").write_text(json.dumps(built.plan | {"format": 0}))
    with pytest.raises(UserError, match=r"plan.json: the index has format 0, and this version reads format 4"):
        open_index(built.directory)


class FullDisk:
    """What `open` gives on a disk that fills up after some bytes."""

    def __init__(self, path, limit):
        self.file, self.limit = open(path, "wb"), limit  # noqa: SIM115

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()

    def write(self, data):
        self.file.write(data[: self.limit])
        raise OSError(errno.ENOSPC, "No space left on device")


def test_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    monkeypatch.setattr("pathlib.Path.open", lambda path, mode: FullDisk(path, 10))
    path = tmp_path / "sketches-00000.safetensors"
    with pytest.raises(UserError, match=f"{path}: cannot write .No space left on device.; free some space"):
        write_tensors(path, {"logps": torch.zeros(100, 2)})
    assert list(tmp_path.iterdir()) == []


def test_failed_write_keeps_the_file_that_was_there(tmp_path, monkeypatch):
    path = tmp_path / "index.json"
    write_atomically(path, b"before")
    with monkeypatch.context() as patch, pytest.raises(UserError):  # noqa: PT012
        patch.setattr("pathlib.Path.open", lambda path, mode: FullDisk(path, 3))
        write_atomically(path, b"afterwards")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_place_that_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(UserError, match="No such file or directory"):
        write_atomically(tmp_path / "missing" / "index.json", b"")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"num_pairs": 10**11, "num_rows": 10**11}, "num_rows should be 70, as in pairs.parquet"),
        ({"num_pairs": 10**11}, "num_pairs should be at most num_rows, 70"),
        ({"num_pairs": 69}, "num_pairs should be 70, as in pairs.parquet"),
        ({"num_pairs": -1}, "num_pairs should be greater than or equal to 0"),
        ({"shard_pairs": 0}, "shard_pairs should be greater than or equal to 1"),
        ({"shard_pairs": -5}, "shard_pairs should be greater than or equal to 1"),
        ({"shard_pairs": 1}, "sketches should be F16 of the shape [1, 9]"),
        ({"dims": 10**12}, "dims should be the square of settings.projection_size"),
        (
            {"dims": 10**12, "settings": {"projection_size": 10**6, "normalise": "sum"}},
            "of the shape [32, 1000000000000]",
        ),
        ({"dims": "9"}, "dims should be a valid integer"),
        ({"reference": ["x"]}, "reference should be a valid string"),
        ({"settings": []}, "settings should be"),
        ({"format": [4]}, "format should be a valid integer"),
    ],
)
def test_a_plan_that_does_not_fit_its_files_is_refused_at_once(built, change, said):
    plan = json.loads((built.directory / "plan.json").read_text())
    (built.directory / "plan.json").write_text(json.dumps(plan | change))
    tracemalloc.start()
    with pytest.raises(UserError) as raised:
        open_index(built.directory)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert said in str(raised.value)
    assert str(raised.value).startswith(str(built.directory))
    assert peak < 5_000_000


def test_a_plan_without_a_key_is_refused(built):
    plan = json.loads((built.directory / "plan.json").read_text())
    for key in ("num_pairs", "shard_pairs", "dims", "settings", "reference", "num_weights_outside"):
        (built.directory / "plan.json").write_text(json.dumps({name: plan[name] for name in plan if name != key}))
        with pytest.raises(UserError, match=f"plan.json: damaged: {key} is missing; filter the data again"):
            open_index(built.directory)


def test_a_shard_of_other_tensors_is_refused(built):
    path = built.directory / "sketches-00001.safetensors"
    unit, scales = encode(torch.ones(32, 9))
    logps = torch.ones(32, 2)
    for tensors in ({"sketches": unit, "scales": scales}, {"sketches": unit.float(), "scales": scales, "logps": logps}):
        write_tensors(path, tensors)
        with pytest.raises(UserError, match=r"sketches-00001.safetensors: damaged: \w+ should be F\d\d of the shape"):
            open_index(built.directory)


@pytest.mark.parametrize("name", ["row", "language", "reason"])
def test_pairs_of_another_type_are_refused(built, name):
    path = built.directory / "pairs.parquet"
    table = pq.read_table(path)
    position = table.column_names.index(name)
    for values in ([None] * 70, [[1]] * 70):
        pq.write_table(table.set_column(position, name, pa.array(values)), path)
        with pytest.raises(UserError, match=r"pairs.parquet: "):
            open_index(built.directory)
    pq.write_table(table.drop_columns(name), path)
    with pytest.raises(UserError, match=r"pairs.parquet: unreadable"):
        open_index(built.directory)

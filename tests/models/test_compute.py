"""The dtype of a whole run: what is taken from an earlier process, and whom it binds."""

import json

import pytest

from congrad.models.compute import begun_dtype, in_dtype_of, settle_stage
from congrad.progress import Listener
from congrad.settings.model import Model


@pytest.mark.parametrize(
    ("content", "dtype"),
    [
        ({"stage": "generate", "settings": {"dtype": "bfloat16"}}, "bfloat16"),
        ({"stage": "train", "settings": {"model": {"weights": {}, "dtype": "float32"}}}, "float32"),
        ({"stage": "generate", "settings": {"dtype": "auto"}}, None),  # begun when auto was the checkpoint's
        ({"stage": "generate", "settings": {"model": {"dtype": 7}, "other": "dtype"}}, None),
        ({"stage": "pair", "settings": {}}, None),
        ([], None),
    ],
)
def test_the_dtype_in_which_a_stage_began(tmp_path, content, dtype):
    (tmp_path / "stage.json").write_text(json.dumps(content))
    assert begun_dtype(tmp_path) == dtype


@pytest.mark.parametrize("text", [None, "{"])
def test_a_stage_that_has_not_begun_or_is_damaged(tmp_path, text):
    if text is not None:
        (tmp_path / "stage.json").write_text(text)
    assert begun_dtype(tmp_path) is None


def test_a_stage_goes_on_in_its_dtype_without_looking_at_the_model(tmp_path):
    (tmp_path / "stage.json").write_text(json.dumps({"settings": {"dtype": "bfloat16"}}))
    told: list[object] = []
    listener = Listener(on_note=told.append)
    assert settle_stage(Model("nowhere"), tmp_path, listener).dtype == "bfloat16"
    assert told == ["computing in bfloat16, as this run began"]
    assert settle_stage(Model("nowhere", dtype="float32"), tmp_path, listener).dtype == "float32"
    assert settle_stage(Model("nowhere"), tmp_path, listener, in_process=False).dtype == "auto"
    assert len(told) == 1


def test_a_model_that_asks_for_a_dtype_keeps_it():
    settled = Model("a", dtype="float32")
    assert in_dtype_of(settled, Model("b")).dtype == "float32"
    assert in_dtype_of(settled, Model("b", dtype="bfloat16")).dtype == "bfloat16"

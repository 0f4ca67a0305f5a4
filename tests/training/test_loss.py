"""The advice's budget is that of the training."""

import pytest

from congrad.errors import UserError
from congrad.settings.advice import Advice
from congrad.training.loss import advice


def test_without_a_word_it_is_transformers_default():
    assert advice({}, Advice(num_folds=6)) == Advice(epochs=3.0, batch_size=8, num_folds=6)


def test_a_step_takes_what_all_devices_accumulate(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    train = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4, "num_train_epochs": 2}
    assert advice(train, Advice()) == Advice(epochs=2.0, batch_size=24)


@pytest.mark.parametrize(("max_steps", "steps"), [(50, 50), (-1, None)])
def test_steps_that_are_given_count_instead_of_the_epochs(max_steps, steps):
    assert advice({"max_steps": max_steps}, Advice()).steps == steps


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_train_epochs", 0, "train.num_train_epochs 0.0: must be above 0"),
        ("max_steps", "many", "train.max_steps"),
    ],
)
def test_a_mistake_is_named_by_the_key_that_its_user_wrote(key, value, message):
    with pytest.raises(UserError, match=message):
        advice({key: value}, Advice())

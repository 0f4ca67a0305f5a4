"""Which engine answers with which model: what decides its replies, and what it cannot open."""

import pytest

from congrad.engines.interface import identity
from congrad.engines.open import open_engine
from congrad.errors import UserError
from congrad.settings.engine import Engine
from congrad.settings.model import Model

URL = "http://localhost:8000"


def test_the_identity_tells_models_apart_and_not_where_an_endpoint_is(tiny_directory, chat_directory, tmp_path):
    one = Engine(kind="openai", url=URL)
    other = Engine(kind="openai", url="http://elsewhere:1", concurrency=2, timeout=5.0, retries=1, command="x {model}")
    tiny, chat = Model(str(tiny_directory)), Model(str(chat_directory))
    assert identity(one, tiny) == identity(other, tiny)
    assert identity(one, tiny) != identity(one, chat)
    assert identity(one, tiny) != identity(Engine(kind="openai", url=URL, options={"top_k": 1}), tiny)
    assert identity(Engine(), tiny) != identity(Engine(batch_size=2), tiny)
    assert identity(Engine(), tiny) != identity(Engine(), Model(str(tiny_directory), dtype="bfloat16"))
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tiny_directory.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    assert identity(Engine(), Model(str(copy))) == identity(Engine(), tiny)
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-100] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert identity(Engine(), Model(str(copy))) != identity(Engine(), tiny)
    assert str(tiny_directory) not in str(identity(Engine(), tiny))


def test_an_adapter_needs_the_engine_in_process(tiny_directory):
    model = Model(str(tiny_directory), adapter="somewhere")
    with pytest.raises(UserError, match="merge"):
        open_engine(Engine(kind="openai", url=URL), model)

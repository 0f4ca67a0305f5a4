"""An engine's settings: what is refused, and what of them decides the replies."""

import pytest

from congrad.engines import Engine, identity, open_engine
from congrad.errors import UserError
from congrad.models.settings import Model

URL = "http://localhost:8000"
TABLE = {
    "kind": ({"kind": "sglang"}, "kind 'sglang': choose one of transformers, openai"),
    "batch size": ({"batch_size": 0}, "batch_size 0: must be 1 or more"),
    "no use": ({"url": URL}, "url: an engine of kind transformers has no use for it"),
    "vllm": (
        {"kind": "vllm", "options": {"dtype": "half"}},
        "kind vllm: set kind to openai, url to http://localhost:8000/v1 and command to 'vllm serve {model}'",
    ),
    "no options": ({"options": {"top_k": 1}}, "options: an engine of kind transformers has no use"),
    "no url": ({"kind": "openai"}, "url is missing"),
    "no scheme": ({"kind": "openai", "url": "localhost:8000"}, "url 'localhost:8000' is none"),
    "port": ({"kind": "openai", "url": "http://x:99999"}, "url 'http://x:99999' is none"),
    "timeout": ({"kind": "openai", "url": URL, "timeout": 0.0}, "timeout 0.0: must be more than 0"),
    "endless": ({"kind": "openai", "url": URL, "timeout": float("nan")}, "timeout nan: must be"),
    "retries": ({"kind": "openai", "url": URL, "retries": -1}, "retries -1: must be 0 or more"),
    "concurrency": ({"kind": "openai", "url": URL, "concurrency": 0}, "concurrency 0: must be 1 or more"),
}


@pytest.mark.parametrize(("options", "message"), TABLE.values(), ids=TABLE)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError) as caught:
        Engine(**options)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("url", ["http://me:sk-secret@x/v1", "https://sk-secret@x", "https://x/v1?key=sk-secret"])
def test_a_key_in_the_url_is_refused_and_not_repeated(url):
    with pytest.raises(UserError, match="api_key_env") as caught:
        Engine(kind="openai", url=url)
    assert "sk-secret" not in str(caught.value)


def test_the_version_is_added_to_a_url_without_path():
    for url, endpoint in (
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("https://x.org/api/v3/", "https://x.org/api/v3"),
    ):
        assert Engine(kind="openai", url=url).endpoint == endpoint


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

"""An engine's settings: what is refused, and the URL that they make."""

import pytest

from congrad.errors import UserError
from congrad.settings.engine import Engine

URL = "http://localhost:8000"
TABLE = {
    "kind": ({"kind": "sglang"}, "kind 'sglang': must be one of transformers, openai"),
    "vllm": (
        {"kind": "vllm"},
        "kind vllm: is not an engine of its own any more; set kind to openai, url to http://localhost:8000/v1",
    ),
    "batch size": ({"batch_size": 0}, "batch_size 0: must be 1 or more"),
    "no use": ({"url": URL}, "url would be ignored by an engine of kind transformers"),
    "no options": ({"options": {"top_k": 1}}, "options would be ignored by an engine of kind transformers"),
    "no url": ({"kind": "openai"}, "url is missing"),
    "no scheme": ({"kind": "openai", "url": "localhost:8000"}, "url 'localhost:8000': is not a URL"),
    "port": ({"kind": "openai", "url": "http://x:99999"}, "url 'http://x:99999': is not a URL"),
    "timeout": ({"kind": "openai", "url": URL, "timeout": 0.0}, "timeout 0.0: must be above 0"),
    "endless": ({"kind": "openai", "url": URL, "timeout": float("nan")}, "timeout nan: must be"),
    "retries": ({"kind": "openai", "url": URL, "retries": -1}, "retries -1: must be 0 or more"),
    "concurrency": ({"kind": "openai", "url": URL, "concurrency": 0}, "concurrency 0: must be 1 or more"),
}


@pytest.mark.parametrize(("options", "message"), TABLE.values(), ids=TABLE)
def test_bad_settings_are_refused_by_name(options, message):
    with pytest.raises(UserError) as caught:
        Engine(**options)
    assert str(caught.value).startswith(f"engine.{message}")


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

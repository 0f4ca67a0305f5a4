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
    "reply": ({"kind": "openai", "url": URL, "max_reply_bytes": 0}, "max_reply_bytes 0: must be 1 or more"),
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


def test_a_key_goes_to_this_machine_or_over_https_alone():
    for url in (
        "https://x.org/v1",
        "http://localhost:8000",
        "http://127.0.0.1:1",
        "http://127.8.8.8",
        "http://[::1]:1",
    ):
        Engine(kind="openai", url=url, api_key_env="X_API_KEY").check_key()
    for host in ("x.org", "10.0.0.1", "0.0.0.0", "127.0.0.1.x.org", "localhost.x.org", "2130706433", "127.1", "[::2]"):
        engine = Engine(kind="openai", url=f"http://{host}:8000", api_key_env="X_API_KEY")
        with pytest.raises(UserError) as caught:
            engine.check_key("judge.engine")
        assert str(caught.value) == (
            f"judge.engine.url http://{host}:8000: would carry the key in X_API_KEY over the network in clear text; "
            "write https://, or leave judge.engine.api_key_env out"
        )
        Engine(kind="openai", url=engine.url).check_key()


NOT_KEYS = ["HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "GITHUB_TOKEN", "PATH", "_API_KEY", "X_API_KEY\n", ""]


@pytest.mark.parametrize("name", NOT_KEYS)
def test_only_the_key_of_an_endpoint_can_be_named(name):
    with pytest.raises(UserError, match=r"engine\.api_key_env .*: must end in _API_KEY"):
        Engine(kind="openai", url="https://x.org", api_key_env=name).check_key()


def test_the_default_of_earlier_versions_is_read_where_it_was_never_used():
    assert Engine(api_key_env="OPENAI_API_KEY") == Engine()
    with pytest.raises(UserError, match="would be ignored by an engine of kind transformers"):
        Engine(api_key_env="X_API_KEY")

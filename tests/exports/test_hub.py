"""Pushing: against a stand-in of the hub's interface, and once against a stand-in server by the real client."""

import base64
import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.errors import OfflineModeIsEnabled
from tests.exports.rows import PLAIN

from congrad.errors import UserError
from congrad.exports import export_run
from congrad.exports.hub import push


class Url(str):
    repo_id = "me/kept"


@dataclass
class FakeApi:
    """Remembers what it is asked."""

    private: bool = True
    files: tuple[str, ...] = (".gitattributes",)
    error: Exception | None = None
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def create_repo(self, repo_id: str, **options: Any) -> Url:
        if self.error:
            raise self.error
        self.asked.append(("create", options))
        return Url("https://hub.example/datasets/me/kept")

    def repo_info(self, repo_id: str, **options: Any) -> Any:
        return self

    def list_repo_files(self, repo_id: str, **options: Any) -> list[str]:
        return list(self.files)

    def upload_folder(self, **options: Any) -> None:
        self.asked.append(("upload", options))


@pytest.fixture
def export(make_run) -> Path:
    return export_run(make_run(PLAIN), "trl").directory


def test_a_repository_is_private_unless_asked(export):
    api = FakeApi()
    assert push(export, "kept", api=api) == "https://hub.example/datasets/me/kept"
    (create, created), (upload, uploaded) = api.asked
    assert (create, created["private"], created["repo_type"]) == ("create", True, "dataset")
    assert (upload, uploaded["repo_id"], uploaded["folder_path"]) == ("upload", "me/kept", export)


def test_public_when_asked(export):
    api = FakeApi(private=False)
    push(export, "me/kept", public=True, api=api)
    assert api.asked[0][1]["private"] is False


@pytest.mark.parametrize(
    ("api", "complaint"),
    [
        (FakeApi(private=False), "exists already and is public; add --public"),
        (FakeApi(files=("README.md", "data.csv")), "holds files that are not an export"),
        (FakeApi(error=OfflineModeIsEnabled("offline")), "the hub cannot be reached"),
        (FakeApi(error=ConnectionError("no route")), "the hub cannot be reached"),
    ],
    ids=["public already", "other files", "offline", "no network"],
)
def test_nothing_is_uploaded_that_was_not_meant(export, api, complaint):
    with pytest.raises(UserError, match=complaint):
        push(export, "me/kept", api=api)
    assert "upload" not in [what for what, _ in api.asked]


def test_an_older_export_is_replaced(export):
    api = FakeApi(files=("README.md", "kept.jsonl", "congrad.json"))
    push(export, "me/kept", api=api)
    assert api.asked[-1][0] == "upload"


@pytest.mark.parametrize("name", ["", "a/b/c", "../x", "me/ kept", "https://hub.example/x"])
def test_a_name_that_is_none(export, name):
    with pytest.raises(UserError, match="not the name of a repository"):
        push(export, name, api=FakeApi())


TOKEN = "hf_thisIsNoRealToken"


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's HTTP interface as an upload of small files asks for."""

    requests: list[tuple[str, str, bytes, str | None]]

    def do_GET(self) -> None:
        self.requests.append(("GET", self.path, b"", self.headers.get("Authorization")))
        info = {"id": "me/kept", "private": True, "sha": "0" * 40, "siblings": [{"rfilename": ".gitattributes"}]}
        self.answer([] if "/tree/" in self.path else info)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.requests.append(("POST", self.path, body, self.headers.get("Authorization")))
        if self.path == "/api/repos/create":
            self.answer({"url": f"{self.server_url}/datasets/me/kept", "name": "me/kept"})
        elif "/preupload/" in self.path:
            files = json.loads(body)["files"]
            self.answer({"files": [{"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files]})
        elif "/commit/" in self.path:
            self.answer({"commitUrl": f"{self.server_url}/datasets/me/kept/commit/1", "commitOid": "1" * 40})
        else:
            self.answer({"errors": [], "warnings": []})

    @property
    def server_url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, content: Any) -> None:
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture
def hub():
    Hub.requests = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_real_client_uploads_the_pairs_and_the_card_and_no_token(make_run, tmp_path, hub):
    run = make_run(PLAIN)
    command = [sys.executable, "-m", "congrad", "export", run, "--format", "axolotl", "--push-to-hub", "me/kept"]
    environment = os.environ | {
        "HF_ENDPOINT": hub,
        "HF_TOKEN": TOKEN,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{hub}/datasets/me/kept"

    posts = {path: body for method, path, body, _ in Hub.requests if method == "POST"}
    created = json.loads(posts["/api/repos/create"])
    assert created.get("private") is True or created.get("visibility") == "private"
    commit = next(body for path, body in posts.items() if "/commit/" in path)
    lines = [json.loads(line) for line in commit.splitlines()]
    sent = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    written = {path.name: path.read_bytes() for path in (run / "axolotl").iterdir()}
    assert sent == written
    assert any(TOKEN in (token or "") for _, path, _, token in Hub.requests if "/commit/" in path)
    assert not any(TOKEN.encode() in data for data in written.values())
    assert TOKEN not in done.stdout + done.stderr

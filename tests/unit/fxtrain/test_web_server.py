"""The server that local pages share: loopback names only, headers, ports that are taken."""

from __future__ import annotations

import asyncio
import errno
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from fixtures.errors import one_line
from fxtrain.contract import FxError, UsageError
from fxtrain.web.requests import body
from fxtrain.web.server import HEADERS, bind, hosts_of, is_loopback, make_app, url_of


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    (tmp_path / "a.css").write_text("body {}", encoding="utf-8")
    app = make_app([Route("/", lambda request: PlainTextResponse("hello"))], tmp_path)
    return TestClient(app, base_url="http://127.0.0.1")


def test_every_answer_keeps_the_page_to_itself(client: TestClient) -> None:
    for path in ("/", "/page/a.css", "/shared/lockstep.js", "/nothing"):
        answer = client.get(path)
        assert all(answer.headers[name] == value for name, value in HEADERS.items()), path
    assert client.get("/page/../test_web_server.py").status_code == 404


def test_only_names_of_this_machine_are_answered(client: TestClient) -> None:
    assert client.get("/", headers={"host": "localhost:8080"}).status_code == 200
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400


def test_an_address_of_the_newer_kind_is_answered(client: TestClient) -> None:
    """Starlette before 1.7 took ``[`` for the host: ``--host ::1`` refused its own page."""
    assert client.get("/", headers={"host": "[::1]:8765"}).status_code == 200
    assert client.get("/", headers={"host": "[::2]:8765"}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost", "0.0.0.0"])
def test_the_address_that_is_printed_is_answered(tmp_path: Path, host: str) -> None:
    routes = [Route("/", lambda request: PlainTextResponse("hello"))]
    client = TestClient(make_app(routes, tmp_path, hosts_of(host)))
    with bind(host, 0) as listener:
        assert client.get(url_of(listener)).status_code == 200
    assert client.get(f"http://{host}:8765/").status_code == 200
    foreign = client.get("/", headers={"host": "evil.example:8765"})
    assert foreign.status_code == (200 if host == "0.0.0.0" else 400)


@pytest.mark.parametrize(
    ("host", "hosts"),
    [
        ("::1", ("[::1]",)), ("::", ("*",)), ("0.0.0.0", ("*",)), ("127.0.0.2", ("127.0.0.2",)),
        ("localhost", ("localhost",)), ("no such host", ()),
    ],
)  # fmt: skip
def test_names_of_a_host(host: str, hosts: tuple[str, ...]) -> None:
    assert hosts_of(host)[: len(hosts)] == hosts


def test_a_port_that_is_taken_is_said() -> None:
    with bind("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        assert url_of(first) == f"http://127.0.0.1:{port}/"
        with pytest.raises(FxError, match=f"port {port} on 127.0.0.1 is taken") as error:
            bind("127.0.0.1", port)
        assert "--port" in one_line(error)


def test_a_kind_of_socket_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EAFNOSUPPORT, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", none)
    with pytest.raises(FxError, match="port 0: Address family"):
        bind("127.0.0.1", 0)


@pytest.mark.parametrize("host", ["no such host", "a" * 64, "lab..example"])
def test_a_host_that_does_not_exist_is_said(host: str) -> None:
    assert hosts_of(host) == ()
    with pytest.raises(UsageError, match="no such host") as error:
        bind(host, 0)
    assert host in one_line(error)


def test_an_upload_that_is_given_up_is_no_fault_of_the_program(tmp_path: Path) -> None:
    """A browser that is closed or loads the page again while it sends: no traceback."""
    asked, ended = [{"type": "http.request", "body": b"RIFF", "more_body": True}], []

    async def upload(request: Request) -> Response:
        ended.append("begun")
        await body(request, 1000)
        raise AssertionError

    async def receive() -> dict[str, Any]:
        return asked.pop() if asked else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        ended.append(message["type"])

    app = make_app([Route("/", upload, methods=["POST"])], tmp_path)
    scope = {
        "type": "http", "method": "POST", "path": "/", "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert ended[:2] == ["begun", "http.response.start"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("localhost", True), ("::1", True), ("0.0.0.0", False), ("lab", False)],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_a_missing_library_names_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        f"sys.argv = ['fxtrain', 'listen', 'serve', {str(tmp_path)!r}]\n"
        "from fxtrain.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert 'pip install ".[web]"' in done.stderr
    assert "Traceback" not in done.stderr

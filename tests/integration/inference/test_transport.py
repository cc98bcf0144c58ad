"""Requests to a chat server: by way of proxies, with passwords in addresses, over TLS and Unix sockets, and to what speaks no HTTP."""

from __future__ import annotations

import base64
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.http_stream_server import Server, answer, serving
from tests.support.tls import Authority
from workers.inference.remote.transport import Transport, Unreachable, _Place


@contextmanager
def asking(base_url: str, key: str = "", socket: Path | None = None) -> Iterator[Transport]:
    transport = Transport(base_url, key, 5.0, socket)
    try:
        yield transport
    finally:
        transport.close()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(lambda request: answer({"path": request.path})) as running:
        yield running


@pytest.mark.parametrize("written", ["http://{}", "{}"])
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "all_proxy"])
def test_a_proxy_of_the_environment_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch, name: str, written: str) -> None:
    monkeypatch.setenv(name, written.format(server.host))
    with asking("http://models.invalid/v1", "key") as transport:
        assert transport.send("models").status == 200
    (request,) = server.requests
    assert (request.headers["host"], request.path) == ("models.invalid", "/v1/models")
    assert request.headers["authorization"] == "Bearer key"


@pytest.mark.parametrize("spared", ["127.0.0.1", "*"])
def test_what_needs_no_proxy_is_asked_itself(server: Server, monkeypatch: pytest.MonkeyPatch, spared: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", spared)
    with asking(f"http://{server.host}/v1") as transport:
        assert transport.send("models").status == 200


@pytest.mark.parametrize("spared", ["::1", "[::1]"])
def test_an_ipv6_address_needs_none_either_where_it_is_named(monkeypatch: pytest.MonkeyPatch, spared: str) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", spared)
    place = _Place.of(httpx.URL("http://[::1]:8000/v1"))
    assert place.proxy is None


def test_a_proxy_that_is_not_there_has_cost_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with asking(f"http://{server.host}/v1") as transport, pytest.raises(Unreachable) as error:
        transport.send("models")
    assert not error.value.sent
    assert server.requests == []


def test_a_name_and_a_password_in_the_address_are_sent_in_the_place_of_the_key(server: Server) -> None:
    with asking(f"http://me:p%40ss@{server.host}/v1", "key") as transport:
        transport.send("models")
    (request,) = server.requests
    assert request.headers["authorization"] == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
    assert "@" not in request.headers["host"]


def test_passwords_of_a_netrc_file_stay_there(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for key, sent in (("", None), ("key", "Bearer key")):
        with asking(f"http://{server.host}/v1", key) as transport:
            transport.send("models")
        assert server.requests[-1].headers.get("authorization") == sent


def test_a_server_with_tls_is_believed_where_its_authority_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = Authority.create(tmp_path / "authority")
    with serving(lambda _: answer({}), authority.context_for("localhost")) as server:
        with asking(f"https://localhost:{server.port}/v1") as transport, pytest.raises(Unreachable, match="Certificate") as error:
            transport.send("models")
        assert not error.value.sent
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        with asking(f"https://localhost:{server.port}/v1") as transport:
            assert transport.send("models").status == 200


def test_a_unix_socket_is_asked_without_a_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    path = tmp_path / "server.sock"
    with saying(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", path), asking("http://localhost/v1", socket=path) as transport:
        assert transport.send("models").content == b"{}"


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x-long: " + b"x" * 100_000 + b"\r\n\r\n",
    ],
    ids=["another protocol", "nothing", "a broken body", "a header without end"],
)
def test_a_server_that_speaks_no_http_may_have_been_at_work(said: bytes, tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    with saying(said, path), asking("http://localhost/v1", socket=path) as transport, pytest.raises(Unreachable) as error:
        transport.send("chat/completions", {"model": "m"})
    assert error.value.sent


def test_a_header_that_comes_twice_counts_as_both(tmp_path: Path) -> None:
    path = tmp_path / "server.sock"
    twice = b"HTTP/1.1 429 Busy\r\nretry-after: 1\r\nretry-after: 2\r\ncontent-length: 0\r\n\r\n"
    with saying(twice, path), asking("http://localhost/v1", socket=path) as transport:
        assert transport.send("models").headers["retry-after"] == "1, 2"


def test_a_process_that_ends_without_goodbye_says_nothing(server: Server) -> None:
    ask = (
        "import sys; from workers.inference.remote.transport import Transport",
        "print(Transport(sys.argv[1], '', 5.0).send('models').status)",
    )
    command = [sys.executable, "-c", "\n".join(ask), f"http://{server.host}/v1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("200\n", "")


@contextmanager
def saying(what: bytes, path: Path) -> Iterator[None]:
    """A Unix socket that says this to each request and hangs up."""
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(path))
    listening.listen()

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(what)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)

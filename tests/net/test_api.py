"""api.py on real sockets: one call, its answer or one sentence why there is none."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from tests.support.fake_control import Answer, Asked, Sessions, fake_control, refusal
from wormkey import api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT_S = 10


@pytest.fixture
def free_url() -> str:
    """Return a URL where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


async def test_a_call_and_its_answer() -> None:
    """JSON goes out with the token and comes back as values."""
    with fake_control(Sessions(access_token="canary")) as control, trio.fail_after(LIMIT_S):
        body = {"port": 1, "authMode": "none", "name": "ümlaut"}
        answer = await api.call(control.url, "POST", "/sessions", token="canary", body=body)
    assert (answer.status, answer.ok, answer.text("slug")) == (201, True, "ümlaut")
    (asked,) = control.asked
    assert (asked.method, asked.path, asked.token, asked.body) == (
        "POST",
        "/sessions",
        "canary",
        body,
    )
    fields = dict(asked.fields)
    assert fields[b"Host"].decode() == control.url.removeprefix("http://")
    assert fields[b"Content-Type"] == b"application/json"


async def test_a_call_without_content_and_token() -> None:
    """What is not given is not sent."""
    with fake_control(Sessions()) as control, trio.fail_after(LIMIT_S):
        answer = await api.call(control.url, "GET", "/sessions/x")
    assert (answer.status, answer.ok, answer.error) == (401, False, "no such session")
    assert answer.code == "made_up"
    (asked,) = control.asked
    assert {name.lower() for name, _ in asked.fields} == {
        b"host",
        b"user-agent",
        b"accept",
        b"connection",
    }


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("999999", api.MAX_RETRY_AFTER_S), ("soon", None), ("-1", None), ("", None)],
)
async def test_retry_after(value: str, seconds: float | None) -> None:
    """The wait is read where it is a number, and bounded."""
    script = lambda _: refusal(429, "slow down", Retry_After=value)  # noqa: E731
    with fake_control(script) as control, trio.fail_after(LIMIT_S):
        answer = await api.call(control.url, "GET", "/")
    assert answer.retry_after_s == seconds


async def test_a_redirect_is_reported_not_followed() -> None:
    """A token never travels to a place the user did not name."""
    with fake_control(Sessions()) as elsewhere, trio.fail_after(LIMIT_S):
        answer = Answer(308, None, (("Location", elsewhere.url),))
        with fake_control(lambda _: answer) as control:
            assert (await api.call(control.url, "GET", "/", token="canary")).status == 308
    assert elsewhere.asked == []


@pytest.mark.parametrize("content", [b"<html>", b"\xff", b"", b"[" * 50_000])
async def test_what_is_no_json_is_none(content: bytes) -> None:
    """Any content is an answer; nothing in it breaks the client."""
    raw = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + content
    with fake_control(lambda _: Answer(raw=raw)) as control, trio.fail_after(LIMIT_S):
        answer = await api.call(control.url, "GET", "/")
    assert answer.ok
    assert answer.json is None
    assert answer.error == ""


async def test_interim_answers_are_passed_over() -> None:
    """The final answer counts, whatever came before it."""
    raw = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
    with fake_control(lambda _: Answer(raw=raw)) as control, trio.fail_after(LIMIT_S):
        assert (await api.call(control.url, "GET", "/")).status == 204


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not HTTP, or cut short"),
        (b"", "not HTTP, or cut short"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", "not HTTP, or cut short"),
        (b"HTTP/1.1 200 OK\r\nX: 1\r\n folded\r\n\r\n", "not HTTP, or cut short"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n"
            + b" " * (api.MAX_ANSWER_BYTES + 1),
            "over 1048576 bytes",
        ),
    ],
)
async def test_what_is_no_answer_is_said_in_one_line(raw: bytes, reason: str) -> None:
    """A wrong port, a cut answer or a flood ends the call with a sentence."""
    with (
        fake_control(lambda _: Answer(raw=raw)) as control,
        trio.fail_after(LIMIT_S),
        pytest.raises(api.ApiUnreachable, match=reason) as caught,
    ):
        await api.call(control.url, "GET", "/")
    assert control.url in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_nothing_listens(free_url: str) -> None:
    """A refused connection is named as such, with the URL."""
    with trio.fail_after(LIMIT_S), pytest.raises(api.ApiUnreachable, match="refused") as caught:
        await api.call(free_url, "GET", "/")
    assert free_url in str(caught.value)


async def test_a_name_that_does_not_resolve() -> None:
    """A wrong host name is one sentence too."""
    with trio.fail_after(LIMIT_S), pytest.raises(api.ApiUnreachable, match=r"nowhere\.invalid"):
        await api.call("http://nowhere.invalid:1", "GET", "/")


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole call has one deadline."""
    monkeypatch.setattr(api, "CALL_TIMEOUT_S", 0.05)
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        trio.fail_after(LIMIT_S),
        pytest.raises(api.ApiUnreachable, match="no answer within"),
    ):
        await api.call(f"http://127.0.0.1:{server.getsockname()[1]}", "GET", "/")


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[trustme.CA]:
    """Return an authority that this process trusts."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return ca


def server_context(ca: trustme.CA, name: str) -> ssl.SSLContext:
    """Return a server's TLS with a certificate of this name."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    ca.issue_cert(name).configure_cert(context)
    return context


async def test_https_with_a_trusted_certificate(authority: trustme.CA) -> None:
    """TLS is spoken and the certificate checked against the system's authorities."""
    tls = server_context(authority, "localhost")
    with fake_control(Sessions(), tls) as control, trio.fail_after(LIMIT_S):
        assert (await api.call(control.url, "GET", "/sessions/x")).status == 401


@pytest.mark.usefixtures("authority")
async def test_https_with_a_certificate_that_is_not_trusted() -> None:
    """A stranger's certificate ends the call before anything was asked."""
    tls = server_context(trustme.CA(), "localhost")
    with (
        fake_control(Sessions(), tls) as control,
        trio.fail_after(LIMIT_S),
        pytest.raises(api.ApiUnreachable, match="certificate is not trusted"),
    ):
        await api.call(control.url, "GET", "/", token="canary")
    assert control.asked == []


@pytest.mark.usefixtures("authority")
async def test_https_where_plain_http_is_spoken() -> None:
    """The wrong scheme is said as what it is."""

    def script(_: Asked) -> Answer:
        raise AssertionError("nothing was asked")

    with fake_control(script) as control, trio.fail_after(LIMIT_S):
        url = control.url.replace("http:", "https:")
        with pytest.raises(api.ApiUnreachable, match=r"TLS failed|broke"):
            await api.call(url, "GET", "/")

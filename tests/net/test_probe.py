"""probe.py on real sockets: is the app there, and does it answer yet?"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import pytest
import trio
import trustme

from tests.support.fake_control import Answer, fake_control
from wormkey import probe
from wormkey.dialer import Dialer
from wormkey.target import parse_target

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_control import Asked

LIMIT_S = 10


def target_of(url: str) -> str:
    """Return the TARGET of a fake that listens on 127.0.0.1."""
    return url.replace("http://", "")


async def test_something_listens_or_nothing_does() -> None:
    """A look makes no request; the sentence for "no" names both addresses."""
    with socket.create_server(("127.0.0.1", 0)) as server, trio.fail_after(LIMIT_S):
        dialer = Dialer(parse_target(str(server.getsockname()[1])))
        assert await probe.why_not_listening(dialer) is None
    sentence = await probe.why_not_listening(dialer)
    assert sentence is not None
    assert dialer.target.tried in sentence


async def test_an_app_that_listens_on_ipv6_only_is_found() -> None:
    """Dev servers of some languages take ::1 and nothing else."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with server, trio.fail_after(LIMIT_S):
        dialer = Dialer(parse_target(str(server.getsockname()[1])))
        assert await probe.why_not_listening(dialer) is None


async def test_a_unix_socket_that_is_not_there(tmp_path: Path) -> None:
    """The path is named."""
    path = tmp_path / "app.sock"
    sentence = await probe.why_not_listening(Dialer(parse_target(f"unix:{path}")))
    assert sentence is not None
    assert str(path) in sentence


@pytest.mark.parametrize(
    "unready",
    [
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\n\r\n",
        b"",
        b"not HTTP\r\n\r\n",
    ],
)
async def test_an_app_that_is_not_ready_is_asked_again(
    unready: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors, hang-ups and nonsense mean not yet; a redirect or a 404 is an answer."""
    monkeypatch.setattr(probe, "POLL_INTERVAL_S", 0.0)
    ready = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    answers = iter((unready, unready, ready))

    def script(_: Asked) -> Answer:
        return Answer(raw=next(answers))

    with fake_control(script) as app, trio.fail_after(LIMIT_S):
        target = parse_target(target_of(app.url))
        await probe.wait_answering(Dialer(target), "/up")
    assert [asked.path for asked in app.asked] == ["/up"] * 3
    assert dict(app.asked[0].fields)[b"Host"] == target.authority


async def test_a_self_signed_app_is_ready_for_those_who_accept_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """--insecure counts for the wait as it counts for the tunnel."""
    monkeypatch.setattr(probe, "POLL_INTERVAL_S", 0.0)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with fake_control(lambda _: Answer(), context) as app, trio.fail_after(LIMIT_S):
        target = parse_target(app.url)
        with trio.move_on_after(0.2) as waited:
            await probe.wait_answering(Dialer(target), "/")
        assert waited.cancelled_caught
        assert app.asked == []
        await probe.wait_answering(Dialer(target, verify_tls=False), "/")
    assert len(app.asked) == 1

"""The client as a process, facing servers that mean it harm."""

from __future__ import annotations

import re
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import define, field

from tests.support.evil import EvilEnd, evil_gateway
from tests.support.fake_control import Answer, Asked, Sessions, fake_control
from tests.support.link import Link
from tests.support.messages import read_request_head
from tests.support.origin import saying, start_origin
from tests.support.process import CLIENT, run, running, running_client, running_daemon
from wormkey.errors import ErrorCode
from wormkey.frames import GoAway, Request, RequestHead, Response, StreamId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

LISTEN = "0A"  # /proc/net/tcp, st
ACCEPTS = 0x10000  # /proc/net/unix, Flags: __SO_ACCEPTCON
ESCAPE = "\x1b]0;pwned\x07\x1b[2J\x9b31m\u202e\r\n"


@define(eq=False)
class Place:
    """A listener that answers with what it is told, and keeps what it was asked."""

    port: int
    answer: bytes
    asked: list[bytes] = field(factory=list)

    async def take(self, stream: trio.SocketStream) -> None:
        """Read a head, answer, hang up."""
        link = Link(stream)
        await read_request_head(link)
        self.asked.append(b"somebody")
        await link.send(self.answer)


@asynccontextmanager
async def place(answer: bytes) -> AsyncIterator[Place]:
    """Listen on a port of its own."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        made = Place(listeners[0].socket.getsockname()[1], answer)
        await nursery.start(trio.serve_listeners, made.take, listeners)
        yield made
        nursery.cancel_scope.cancel(reason="the test is over")


def sockets_of(pid: int) -> set[str]:
    """The inodes of a process's sockets."""
    links = [str(each.readlink()) for each in Path(f"/proc/{pid}/fd").iterdir()]
    return {found[1] for link in links if (found := re.fullmatch(r"socket:\[(\d+)\]", link))}


def listeners_of(pid: int) -> Iterator[str]:
    """The lines of /proc/net about sockets of this process on which others can reach it."""
    inodes = sockets_of(pid)
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTEN and words[9] in inodes:
                yield line
    for name in ("udp", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]:
            if line.split()[9] in inodes:
                yield line
    for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]:
        words = line.split()
        if int(words[3], 16) & ACCEPTS and words[6] in inodes:
            yield line


async def test_a_client_listens_on_nothing(tmp_path: Path) -> None:
    """No page in the user's browser can reach it, under whatever name: nothing is there."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, running_daemon(tmp_path) as daemon:
            origin = await start_origin(nursery, saying())
            async with running_client(daemon, tmp_path, str(origin.port)) as (client, _):
                assert sockets_of(client.pid)
                assert list(listeners_of(client.pid)) == []
                assert list(listeners_of(daemon.process.pid))  # the look itself works
            nursery.cancel_scope.cancel(reason="the test is over")


async def test_what_a_gateway_says_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Reasons, targets, methods: no control character of theirs is written, on either output."""
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery, evil_gateway() as gateway:
            origin = await start_origin(nursery, saying())
            with fake_control(Sessions(edge_url=gateway.url)) as control:
                command = (*CLIENT, "expose", str(origin.port), "-v", "--no-qr")
                options = ("--control-plane", control.url)
                async with running((*command, *options), tmp_path) as client:
                    first = await gateway.wait_client()
                    await exchanges(first)
                    await first.say(GoAway(StreamId(2), ErrorCode.NO_ERROR, ESCAPE.encode()))
                    await first.send_message(b"\x03\xe8" + ESCAPE.encode(), first=0x88)
                    second = await gateway.wait_client(2)
                    goodbye = GoAway(StreamId(0), ErrorCode.SESSION_CLOSED, ESCAPE.encode())
                    await second.say(goodbye)
                    await second.send_message(b"\x03\xe8" + ESCAPE.encode(), first=0x88)
                    assert await client.wait() == 14
                    said = "".join(client.out + client.err)
            nursery.cancel_scope.cancel(reason="the test is over")
    assert "pwned" in said  # it is shown, made harmless
    assert said.isprintable()


async def exchanges(evil: EvilEnd) -> None:
    """Two requests that are shown: one that is served and one that is refused."""
    fine = RequestHead(b"GET", b"/served", ())
    bad = RequestHead(b"G\x1b]0;pwned\x07", ESCAPE.encode(), ())
    await evil.say(
        Request(StreamId(1), fine, end_stream=True), Request(StreamId(2), bad, end_stream=True)
    )
    await evil.hear(Response)


@pytest.mark.parametrize("where", ["slug", "publicUrl", "ownerUrl", "expiresAt", "sessionId"])
async def test_what_a_control_plane_says_cannot_steer_the_terminal(
    where: str, tmp_path: Path
) -> None:
    """An answer with control characters in it is none of a control plane's."""
    sessions = Sessions()

    def script(asked: Asked) -> Answer:
        answer = sessions(asked)
        assert isinstance(answer.body, dict)
        if asked.method == "POST":
            answer.body[where] += ESCAPE
        return answer

    with fake_control(script) as control:
        code, out, err = await run(
            (*CLIENT, "expose", "9", "--control-plane", control.url), tmp_path
        )
    assert (code, out) == (12, "")
    assert "".join(err.splitlines()).isprintable()


async def test_an_error_of_a_control_plane_cannot_steer_the_terminal(tmp_path: Path) -> None:
    """Its sentence is quoted, its control characters are not."""
    with fake_control(lambda _: Answer(403, {"error": ESCAPE, "code": ESCAPE})) as control:
        code, _, err = await run((*CLIENT, "expose", "9", "--control-plane", control.url), tmp_path)
    assert code != 0
    assert "pwned" in err
    assert "".join(err.splitlines()).isprintable()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_token_does_not_follow_a_redirect_of_the_control_plane(
    status: str, tmp_path: Path
) -> None:
    """The access token is for the control plane that the user named, and no other."""
    with trio.fail_after(60):
        async with place(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as other:
            head = f"HTTP/1.1 {status}\r\nLocation: http://127.0.0.1:{other.port}/sessions\r\n"
            raw = head.encode() + b"Content-Length: 0\r\n\r\n"
            with fake_control(lambda _: Answer(raw=raw)) as control:
                command = (*CLIENT, "expose", "9", "--control-plane", control.url)
                code, _, _ = await run(command, tmp_path, WORMKEY_TOKEN="secret-token")
                assert code != 0
                assert control.asked[0].token == "secret-token"
            assert not other.asked


async def test_a_session_token_does_not_follow_a_redirect_of_the_gateway(tmp_path: Path) -> None:
    """A gateway that sends the client elsewhere is asked again, and the other place is not."""
    with trio.fail_after(60):
        async with (
            trio.open_nursery() as nursery,
            place(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") as other,
        ):
            location = b"Location: ws://127.0.0.1:%d/tunnel\r\n" % other.port
            head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n" + location + b"\r\n"
            async with place(head) as gateway:
                with fake_control(Sessions(edge_url=f"ws://127.0.0.1:{gateway.port}")) as control:
                    origin = await start_origin(nursery, saying())
                    command = (*CLIENT, "expose", str(origin.port), "--timeout", "2s")
                    options = ("--control-plane", control.url)
                    code, _, _ = await run((*command, *options), tmp_path)
                    assert code == 12
                assert len(gateway.asked) > 1
            assert not other.asked
            nursery.cancel_scope.cancel(reason="the test is over")

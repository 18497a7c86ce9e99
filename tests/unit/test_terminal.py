"""terminal.py: what a person sees and types, and what must not reach a terminal."""

from __future__ import annotations

import base64
import io
import os
import pty
import sys
import termios
from typing import TYPE_CHECKING

import pytest
import segno
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from wormkey.terminal import (
    Browser,
    Console,
    Keyboard,
    clipboard_sequence,
    is_interactive,
    printable,
    qr_lines,
    show_qr,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

URL = "https://quiet-otter-42-k3v9x2ma.example.com/"


@given(st.text())
def test_no_text_of_a_server_steers_the_terminal(text: str) -> None:
    """Whatever comes in, no control character and no line break comes out."""
    assert all(mark.isprintable() for mark in printable(text))


def test_plain_text_stays_as_it_is() -> None:
    """Words of any language are not touched."""
    assert printable("Straße nach 東京, ok") == "Straße nach 東京, ok"
    assert printable("a\x1b[2Jb") == "a\N{REPLACEMENT CHARACTER}[2Jb"


def test_quiet_keeps_warnings() -> None:
    """-q drops what is said, never what is warned of."""
    stream = io.StringIO()
    console = Console(quiet=True, stream=stream)
    console.say("hello")
    console.warn("careful")
    assert stream.getvalue() == "wormkey: warning: careful\n"


def test_a_terminal_that_is_gone_breaks_nothing() -> None:
    """Writing to a closed stream is no error of the tunnel."""
    stream = io.StringIO()
    stream.close()
    Console(stream=stream).say("hello")


def modules_of(lines: list[str], *, dark: str) -> list[list[bool]]:
    """Read drawn half blocks back as rows of modules, True where dark."""
    upper, lower = {" ": (0, 0), "▀": (1, 0), "▄": (0, 1), "█": (1, 1)}, []
    for line in lines:
        halves = [upper[block] for block in line]
        lower.append([bool(half[0]) is (dark == "drawn") for half in halves])
        lower.append([bool(half[1]) is (dark == "drawn") for half in halves])
    return lower


@pytest.mark.parametrize("colour", [True, False])
def test_the_qr_code_says_the_url(colour: bool) -> None:
    """The drawn modules are the code's own, in colour and without."""
    lines = qr_lines(URL, colour=colour)
    if colour:
        lines = [line.removeprefix("\x1b[30;107m").removesuffix("\x1b[0m") for line in lines]
    drawn = modules_of(lines, dark="drawn" if colour else "blank")
    code = segno.make(URL, error="l", micro=False, boost_error=False)
    wanted = [[bool(module) for module in row] for row in code.matrix_iter(border=2)]
    assert drawn[: len(wanted)] == wanted
    assert all(not any(row) for row in drawn[len(wanted) :])


def test_a_terminal_that_cannot_show_it_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ASCII terminal or a narrow one gets one line instead of garbage."""
    monkeypatch.setenv("NO_COLOR", "1")
    ascii_stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    show_qr(Console(stream=ascii_stream), URL)
    shown = ascii_stream.buffer.getvalue()  # type: ignore[attr-defined]
    assert shown.count(b"\n") == 1
    assert b"encoding" in shown
    utf8_stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    show_qr(Console(stream=utf8_stream), "x" * 2000)
    assert b"columns wide" in utf8_stream.buffer.getvalue()  # type: ignore[attr-defined]
    show_qr(Console(stream=utf8_stream), URL)
    assert "█".encode() in utf8_stream.buffer.getvalue()  # type: ignore[attr-defined]


def test_the_clipboard_gets_the_url() -> None:
    """OSC 52 carries the text in base64 and nothing of it outside."""
    sequence = clipboard_sequence(URL)
    assert sequence.startswith("\x1b]52;c;")
    assert sequence.endswith("\x07")
    assert (
        base64.b64decode(sequence.removeprefix("\x1b]52;c;").removesuffix("\x07")) == URL.encode()
    )


def test_pipes_are_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without terminals there is no person, also when stdin is closed."""
    monkeypatch.setattr(os, "isatty", lambda fd: fd == 2)
    assert not is_interactive()

    def closed(_fd: int) -> bool:
        raise OSError

    monkeypatch.setattr(os, "isatty", closed)
    assert not is_interactive()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, int]]:
    """Return both ends of a pseudo-terminal whose foreground is this process."""
    master, slave = pty.openpty()
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp())
    yield master, slave
    for fd in (master, slave):
        os.close(fd)


def is_cooked(fd: int) -> bool:
    """Tell whether a terminal collects lines and echoes them."""
    flags = termios.tcgetattr(fd)[3]
    return bool(flags & termios.ICANON) and bool(flags & termios.ECHO)


async def test_keys_come_one_by_one_and_the_terminal_is_given_back(
    terminal: tuple[int, int],
) -> None:
    """Each key arrives without Enter, in lower case; arrows are none; the mode is restored."""
    master, slave = terminal
    typed, seen = trio.open_memory_channel[str](16)
    keyboard = Keyboard(slave)
    with trio.fail_after(5), typed, seen:
        with keyboard.opened():
            assert not is_cooked(slave)
            assert termios.tcgetattr(slave)[3] & termios.ISIG
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keyboard.watch, typed.send_nowait)
                os.write(master, b"P")
                assert await seen.receive() == "p"
                os.write(master, b"\x1b[C\x1bOPr\x1b[1;5Dq")
                assert [await seen.receive(), await seen.receive()] == ["r", "q"]
                nursery.cancel_scope.cancel()
        assert is_cooked(slave)


async def test_a_terminal_that_hangs_up_ends_the_watch(terminal: tuple[int, int]) -> None:
    """Closing the window ends the keys, not the client."""
    master, slave = terminal
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Keyboard(slave).watch, lambda _key: None)
            await trio.testing.wait_all_tasks_blocked()
            spare = os.open(os.devnull, os.O_RDONLY)
            os.dup2(spare, master)  # closes the master, and leaves the number for the fixture
            os.close(spare)


def test_a_background_job_leaves_the_terminal_alone(
    terminal: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Setting a mode from the background would stop the process, so nothing is set."""
    _, slave = terminal
    monkeypatch.setattr(os, "tcgetpgrp", lambda _fd: os.getpgrp() + 1)
    with Keyboard(slave).opened():
        assert is_cooked(slave)


@pytest.mark.skipif(sys.platform != "linux", reason="the desktop's opener is found on PATH")
def test_the_browser_is_the_desktops(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a desktop its opener gets the URL; without one nothing is started."""
    for name in ("WAYLAND_DISPLAY", "WSL_DISTRO_NAME"):
        monkeypatch.delenv(name, raising=False)
    opener, seen = tmp_path / "xdg-open", tmp_path / "seen"
    os.mkfifo(seen)
    opener.write_text(f'#!/bin/sh\nprintf %s "$1" > {seen}\n')
    opener.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    browser = Browser()
    monkeypatch.setenv("DISPLAY", ":0")
    assert browser.open(URL)
    assert seen.read_text() == URL
    browser.let_go()
    monkeypatch.delenv("DISPLAY")
    assert not browser.open(URL)

"""The person at the client's terminal: lines on stderr, the QR code, single keys, the browser.

stdout is never written here: it carries the public URL or one JSON object and nothing else. Text
that came from a server is made printable before it is shown, so that it cannot steer the
terminal. What a key does is expose.py's affair.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TextIO

import trio
from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

MAX_CLIPBOARD_BYTES: Final = 8 * 1024  # xterm drops longer OSC 52 sequences; a URL has 100
_BACKGROUND_POLL_S: Final = 0.5
_QR_BORDER: Final = 2  # the standard asks for 4 modules; readers do with 2 and the screen is small
_BLACK_ON_WHITE: Final = "\x1b[30;107m"  # said outright, or a dark terminal shows a negative
_RESET: Final = "\x1b[0m"
# What an arrow or a function key sends (ECMA-48 §5.4, and SS3 of the VT100): none of its letters
# is meant. Each comes whole in one read.
_ESCAPE_SEQUENCE: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)


def printable(text: str) -> str:
    """Return the text with what could steer a terminal or break a line replaced by U+FFFD."""
    return "".join(mark if mark.isprintable() else "\N{REPLACEMENT CHARACTER}" for mark in text)


@define
class Console:
    """Lines for the user, on stderr. ``quiet`` leaves only warnings and errors."""

    quiet: bool = False
    stream: TextIO = field(factory=lambda: sys.stderr)

    def say(self, text: str) -> None:
        """Write lines that a quiet user does not miss."""
        if not self.quiet:
            self._write(text)

    def warn(self, text: str) -> None:
        """Write one line about something that may surprise later."""
        self._write(f"wormkey: warning: {text}")

    def send_control(self, sequence: str) -> None:
        """Write a control sequence of our own, no line."""
        self._put(sequence)

    def _write(self, text: str) -> None:
        self._put(text + "\n")

    def _put(self, text: str) -> None:
        try:
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            pass  # the terminal is gone; the tunnel is not


def is_interactive() -> bool:
    """Tell whether a person sits there: stdin and stderr are both terminals."""
    try:
        return os.isatty(0) and os.isatty(2)
    except OSError:
        return False


# ── the QR code ─────────────────────────────────────────────────────────────────────────────


def qr_lines(text: str, *, colour: bool) -> list[str]:
    """Return a QR code of the text, two modules a character high, to be printed line by line.

    Without ``colour`` the light modules are the drawn ones, which suits a dark terminal.
    """
    import segno  # noqa: PLC0415 - 8 ms and 1.4 MB that only a terminal needs

    code = segno.make(text, error="l", micro=False, boost_error=False)
    matrix = [[bool(module) for module in row] for row in code.matrix_iter(border=_QR_BORDER)]
    if len(matrix) % 2:
        matrix.append([False] * len(matrix[0]))
    lines = []
    for top, bottom in zip(matrix[::2], matrix[1::2], strict=True):
        drawn = zip(top, bottom, strict=True)
        if colour:
            blocks = "".join(_block(upper, lower) for upper, lower in drawn)
            lines.append(f"{_BLACK_ON_WHITE}{blocks}{_RESET}")
        else:
            lines.append("".join(_block(not upper, not lower) for upper, lower in drawn))
    return lines


def show_qr(console: Console, text: str) -> None:
    """Print a QR code, or one line that says why this terminal cannot show it."""
    lines = qr_lines(text, colour="NO_COLOR" not in os.environ)
    width = len(lines[0].removeprefix(_BLACK_ON_WHITE).removesuffix(_RESET))
    if not _can_encode(console.stream, "█▀▄"):
        console.say("(no QR code: the terminal's encoding has no block characters)")
    elif width > _columns(console.stream):
        console.say(f"(no QR code: it needs a terminal {width} columns wide)")
    else:
        console.say("\n".join(lines))


def _block(upper: bool, lower: bool) -> str:
    if upper:
        return "█" if lower else "▀"
    return "▄" if lower else " "


def _can_encode(stream: TextIO, text: str) -> bool:
    try:
        text.encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _columns(stream: TextIO) -> int:
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80  # no terminal: a file or a pipe that was asked for with --qr


# ── keys ────────────────────────────────────────────────────────────────────────────────────


@define
class Keyboard:
    """A terminal that gives each key at once and echoes none; Ctrl-C still is a signal."""

    fd: int = 0
    _usual: list[object] | None = field(default=None, init=False)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Take the terminal and give it back as it was, however the block ends."""
        self.take()
        try:
            yield
        finally:
            self.give_back()

    def take(self) -> None:
        """Set the mode; also after the shell has brought a stopped client back (SIGCONT).

        Nothing happens in the background, where setting a mode would stop the process (SIGTTOU).
        """
        # Pythons for other systems lack it, and a client in a pipe has no use for it.
        import termios  # noqa: PLC0415

        if not self._in_foreground():
            return
        try:
            mode = termios.tcgetattr(self.fd)
            if self._usual is None:
                self._usual = [*mode[:6], list(mode[6])]
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self.fd, termios.TCSADRAIN, mode)
        except termios.error:
            pass  # the terminal went away

    def give_back(self) -> None:
        """Restore the mode that ``take`` found."""
        if self._usual is None or not self._in_foreground():
            return
        import termios  # noqa: PLC0415 - as above

        try:
            termios.tcsetattr(self.fd, termios.TCSADRAIN, self._usual)  # type: ignore[arg-type]
        except termios.error:
            pass  # the terminal went away

    async def watch(self, on_key: Callable[[str], None]) -> None:
        """Call ``on_key`` with each letter, in lower case, until the terminal is gone.

        Cancellation: safe at any point; no key is lost but the one being read.
        """
        while True:
            await trio.lowlevel.wait_readable(self.fd)
            if not self._in_foreground():
                await trio.sleep(_BACKGROUND_POLL_S)  # the shell's keys; reading would stop us
                continue
            try:
                keys = os.read(self.fd, 64)
            except OSError:
                return
            if not keys:
                return
            for key in _ESCAPE_SEQUENCE.sub(b"", keys).decode("ascii", "replace").lower():
                on_key(key)

    def _in_foreground(self) -> bool:
        try:
            return os.tcgetpgrp(self.fd) == os.getpgrp()
        except OSError:
            return False


# ── clipboard and browser ───────────────────────────────────────────────────────────────────


def clipboard_sequence(text: str) -> str:
    """Return the control sequence that makes a terminal copy the text (xterm's OSC 52).

    It works over SSH too, where no clipboard program of this machine would help. Whether the
    terminal obeyed cannot be known.
    """
    content = text.encode("utf-8")[:MAX_CLIPBOARD_BYTES]
    return f"\x1b]52;c;{base64.b64encode(content).decode('ascii')}\x07"


@define
class Browser:
    """Opens URLs in the desktop's browser; text browsers would take the terminal and are not used.

    The standard library's webbrowser module runs those too, and lets xdg-open write to stdout.
    """

    _children: list[subprocess.Popen[bytes]] = field(factory=list, init=False)

    def open(self, url: str) -> bool:
        """Start the opener and return at once; False where this machine has no desktop."""
        command = _opener()
        if command is None:
            return False
        self._children = [child for child in self._children if child.poll() is None]
        try:
            child = subprocess.Popen(  # noqa: S603 - a fixed program and one checked http(s) URL
                [*command, url],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C at the tunnel is none at the browser
            )
        except OSError:
            return False
        self._children.append(child)
        return True

    def let_go(self) -> None:
        """Leave the browsers to themselves; init waits for them."""
        for child in self._children:
            if child.poll() is None:
                child.returncode = 0  # or the interpreter warns that a child still runs


def _opener() -> Sequence[str] | None:
    if sys.platform == "darwin":
        return ("open",)
    if not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "WSL_DISTRO_NAME")):
        return None
    for name in ("xdg-open", "wslview"):
        path = shutil.which(name)
        if path is not None:
            return (path,)
    return None

"""The life of ``wormkey expose``: origin, session, tunnel, keys, and a clean end.

    expose
      ├ signals     the first asks to stop, the second ends everything at once
      ├ client      the tunnel, for as long as it takes
      ├ keys        only where a person sits at the terminal
      └ origin      one look whether the app is there, for a warning

How the lines look is terminal.py's affair, what the server says lease.py's; options arrive parsed
from cli.py. The public URL goes to stdout when the tunnel is open, and not before.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field, frozen

from wormkey import probe
from wormkey.client import Client, ClientEvent, ClientSettings, Connected, Disconnected, Exchange
from wormkey.dialer import Dialer
from wormkey.errors import ConfigError, TunnelError
from wormkey.exits import ExitCode, Failure
from wormkey.lease import Lease, SessionWish, end_session, obtain_session
from wormkey.local import LocalFileError, LocalFiles, write_file
from wormkey.terminal import Browser, Console, Keyboard, clipboard_sequence, printable, show_qr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from wormkey.records import SessionRecord

DRAIN_TIMEOUT_S: Final = 3.0  # a page with HMR holds a stream for ever; Ctrl-C must not feel stuck
CLOSE_TIMEOUT_S: Final = 5.0
_UNDECIDED_TIMEOUT_S: Final = 2.0  # for a session whose creation is on the way when Ctrl-C comes
_KEYS: Final = "L open · C copy · P pause · R resume · Q quit"


@frozen(kw_only=True)
class ExposeOptions:
    """What ``wormkey expose`` was asked for, parsed and checked.

    ``qr`` None shows the code to a person only; ``timeout_s`` bounds the wait for the origin
    (``wait_for``, a path) and the wait for the tunnel.
    """

    wish: SessionWish
    verify_tls: bool = True
    as_json: bool = False
    output: Path | None = None
    wait_for: str | None = None
    timeout_s: float = 60.0
    qr: bool | None = None
    open_browser: bool = False
    interactive: bool = False
    verbose: bool = False


async def expose(options: ExposeOptions, files: LocalFiles, console: Console) -> int:
    """Serve the target until the user, the server or an error ends it; return the exit code.

    A code over 128 says that a second signal of that number ended it at once: the session then
    lives on at the server, and its record here.

    Raises:
        Failure: it could not start, or the session ended; nothing was left at the server.

    Cancellation: ends the tunnel; the session stays, as after a crash.
    """
    life = _Life(options, files, console)
    with trio.open_signal_receiver(*_signals()) as signals:
        async with trio.open_nursery() as nursery:
            life.everything = nursery.cancel_scope
            nursery.start_soon(life.watch_signals, signals)
            await life.run()
            nursery.cancel_scope.cancel()
    if life.failure is not None:
        raise life.failure
    return life.exit_code


def _signals() -> list[signal.Signals]:
    taken = [signal.SIGINT, signal.SIGTERM, signal.SIGCONT]
    # nohup ignores SIGHUP for its child, and means it.
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        taken.append(signal.SIGHUP)
    return taken


@define(eq=False)
class _Life:
    options: ExposeOptions
    files: LocalFiles
    console: Console
    keyboard: Keyboard = field(factory=Keyboard)
    browser: Browser = field(factory=Browser)
    everything: trio.CancelScope = field(factory=trio.CancelScope)
    starting: trio.CancelScope = field(factory=trio.CancelScope)
    stopping: trio.Event = field(factory=trio.Event)
    turn: trio.Event = field(factory=trio.Event)  # the tunnel opened, or it is over
    obtaining: bool = False
    lease: Lease | None = None
    client: Client | None = None
    connected: bool = False
    announced: bool = False
    paused: bool = False
    last_reason: str = ""
    failure: Failure | None = None
    exit_code: int = ExitCode.DONE

    # ── the course of things ────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Go from nothing to a closed session; what went wrong is left in ``failure``."""
        try:
            with self.starting:
                await self._start()
            if self.lease is not None and not self.stopping.is_set():
                with self.keyboard.opened() if self.options.interactive else nullcontext():
                    await self._serve(self.lease)
        except Failure as failure:
            self.failure = failure
        self.browser.let_go()
        await self._end()

    async def _start(self) -> None:
        if self.options.wait_for is not None:
            await self._wait_for_origin(self.options.wait_for)
        self.obtaining = True
        self.lease = await obtain_session(self.options.wish, self.files, self.console)
        if self.lease.resumed:
            self.console.say(f"resuming {self.lease.record.slug}")

    async def _wait_for_origin(self, path: str) -> None:
        target = self.options.wish.target
        self.console.say(f"waiting for {target} to answer {path}")
        with trio.move_on_after(self.options.timeout_s) as scope:
            await probe.wait_answering(Dialer(target, self.options.verify_tls), path)
        if scope.cancelled_caught:
            raise Failure(
                ExitCode.ORIGIN_UNREACHABLE,
                f"no answer from {target} (tried {target.tried}) within "
                f"{self.options.timeout_s:g} s; is the app running, and on this port?"
                f"{_container_hint(target.port)}",
            )

    async def _serve(self, lease: Lease) -> None:
        record = lease.record
        wish = self.options.wish
        settings = ClientSettings(
            host_header=wish.host_header.encode("ascii"),
            verify_tls=self.options.verify_tls,
            drain_timeout_s=DRAIN_TIMEOUT_S,
        )
        try:
            self.client = Client(
                settings, record.edge_url, record.session_token, wish.target, self._take_event
            )
        except ConfigError as error:  # the control plane's edgeUrl: --edge is checked before
            raise Failure(ExitCode.CONTROL_PLANE_UNREACHABLE, str(error)) from error
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._run_client, self.client)
            if self.options.wait_for is None:
                nursery.start_soon(self._warn_of_a_silent_origin)
            with trio.move_on_after(self.options.timeout_s):
                await self.turn.wait()
            if self.connected and not self.stopping.is_set():
                self._announce_or_stop(record)
                if self.options.interactive:
                    nursery.start_soon(self.keyboard.watch, self._take_key)
            elif not self.stopping.is_set():
                self.failure = Failure(
                    ExitCode.CONTROL_PLANE_UNREACHABLE,
                    f"no tunnel to {record.edge_url} within {self.options.timeout_s:g} s"
                    f"{f': {self.last_reason}' if self.last_reason else ''}; --edge or "
                    "WORMKEY_EDGE_URL names another gateway",
                )
                self.request_stop()
            await self.stopping.wait()
            if self.failure is None:
                await self.client.drain()
            nursery.cancel_scope.cancel()

    async def _run_client(self, client: Client) -> None:
        try:
            await client.run()
        except TunnelError as error:
            self.failure = self._failure_of(error)
        else:
            if not self.stopping.is_set():
                self.failure = Failure(ExitCode.SESSION_ENDED, "the gateway ended the tunnel")
        self.request_stop()

    def _failure_of(self, error: TunnelError) -> Failure:
        match error.status:
            case 401 | 403:
                code, meaning = ExitCode.NOT_AUTHORISED, "the gateway rejects the session's token"
            case 404 | 410:
                code, meaning = ExitCode.SESSION_ENDED, "the session expired or was closed"
            case 409:
                code, meaning = ExitCode.REFUSED, "the session is served elsewhere now"
            case _:
                code, meaning = ExitCode.UNEXPECTED, "the tunnel failed"
        said = printable(str(error))
        return Failure(code, f"{meaning}: {said}" if said else meaning)

    async def _warn_of_a_silent_origin(self) -> None:
        target = self.options.wish.target
        sentence = await probe.why_not_listening(Dialer(target, self.options.verify_tls))
        if sentence is not None:
            self.console.warn(f"{sentence}{_container_hint(target.port)}")

    async def _end(self) -> None:
        """Close the session at the server, where it is still this client's to close."""
        if self.lease is None:
            return
        record = self.lease.record
        code = None if self.failure is None else self.failure.exit_code
        try:
            if code in (ExitCode.NOT_AUTHORISED, ExitCode.SESSION_ENDED):
                self.files.forget_session(record.session_id)
                return
            if code is ExitCode.REFUSED:
                return  # another client serves it
            if code is not None and self.lease.resumed and not self.announced:
                return  # the gateway may be restarting; the next start resumes again
            with trio.fail_after(CLOSE_TIMEOUT_S):
                await end_session(record, self.files)
        except trio.TooSlowError:
            self._warn_left_open(record, f"no answer within {CLOSE_TIMEOUT_S:g} s")
        except Failure as error:
            self._warn_left_open(record, str(error))
        except LocalFileError as error:
            self.console.warn(str(error))

    def _warn_left_open(self, record: SessionRecord, reason: str) -> None:
        self.console.warn(
            f"the session stays open until {record.expires_at}: {reason}; "
            f"`wormkey close {record.slug}` tries again"
        )

    # ── what happens meanwhile ──────────────────────────────────────────────────────────────

    def request_stop(self) -> None:
        """Begin the end; harmless when it has begun."""
        self.stopping.set()
        self.turn.set()
        # A request for a session that is on its way is waited for, or nobody could close it.
        wait_s = _UNDECIDED_TIMEOUT_S if self.obtaining else 0.0
        self.starting.deadline = trio.current_time() + wait_s

    async def watch_signals(self, signals: AsyncIterator[int]) -> None:
        """Turn signals into what they ask for.

        Cancellation: safe; a signal that comes later has its usual effect again.
        """
        async for number in signals:
            if number == signal.SIGCONT:
                if self.options.interactive and self.client is not None:
                    self.keyboard.take()
            elif number == signal.SIGHUP and not self.options.interactive:
                if self.client is not None:
                    self.client.reconnect_now()
            elif self.stopping.is_set():
                self.exit_code = 128 + number
                self.everything.cancel()
                return
            else:
                self.console.say("closing the tunnel (once more: at once)")
                self.request_stop()

    def _take_event(self, event: ClientEvent) -> None:
        match event:
            case Connected():
                if self.announced and not self.connected:
                    self.console.say("the tunnel is back")
                self.connected = True
                self.turn.set()
            case Disconnected(reason, retry_in_s):
                self.last_reason = printable(reason)
                if self.connected or self.options.verbose:
                    self.console.say(
                        f"no tunnel: {self.last_reason}; trying again in {retry_in_s:.1f} s"
                    )
                self.connected = False
            case Exchange(method, target, status, duration_s):
                if self.options.verbose:
                    line = b"%s %s" % (method, target)
                    shown = printable(line.decode("ascii", "replace"))
                    self.console.say(f"{status} {shown} {duration_s * 1000:.0f} ms")

    def _take_key(self, key: str) -> None:
        if self.lease is None or self.client is None:
            return
        url = self.lease.record.url
        match key:
            case "l":
                if not self.browser.open(url):
                    self.console.say(f"no desktop here; open {url}")
            case "c":
                self.console.send_control(clipboard_sequence(url))
                self.console.say("copied the URL, if this terminal allows it")
            case "p" if not self.paused:
                self.paused = True
                self.client.pause()
                self.console.say("paused: viewers are told to come back later; R resumes")
            case "r" if self.paused:
                self.paused = False
                self.client.resume()
                self.console.say("resumed")
            case "r":
                self.client.reconnect_now()
            case "q":
                self.console.say("closing the tunnel (Ctrl-C: at once)")
                self.request_stop()
            case _:
                pass  # not a key of ours

    # ── what is said ────────────────────────────────────────────────────────────────────────

    def _announce_or_stop(self, record: SessionRecord) -> None:
        try:
            self._announce(record)
        except (LocalFileError, OSError) as error:
            self.failure = Failure(ExitCode.UNEXPECTED, f"the URL could not be written: {error}")
            self.request_stop()

    def _announce(self, record: SessionRecord) -> None:
        """Say the URL where it was asked for: stdout and --output first, then the person."""
        line = json.dumps(_ready_object(record))
        if self.options.output is not None:
            write_file(self.options.output, line.encode("ascii") + b"\n")
        sys.stdout.write((line if self.options.as_json else record.url) + "\n")
        sys.stdout.flush()
        self.announced = True
        say = self.console.say
        say(f"Forwarding {record.url} -> {record.target}, until {record.expires_at}")
        if record.password is not None:
            say(f"Viewers log in as {record.username} with the password {record.password}")
        if self.options.qr or (self.options.qr is None and self.options.interactive):
            show_qr(self.console, record.url)
        if self.options.interactive:
            say(f"Owner: {record.owner_url}")
            say(_KEYS)
        if self.options.open_browser and not self.browser.open(record.url):
            say("no desktop here: --open has no effect")


def _ready_object(record: SessionRecord) -> dict[str, object]:
    ready: dict[str, object] = {
        "session_id": record.session_id,
        "slug": record.slug,
        "url": record.url,
        "owner_url": record.owner_url,
        "expires_at": record.expires_at,
        "pid": os.getpid(),
        "status": "ready",
    }
    if record.password is not None:
        ready["basic_auth"] = {"username": record.username, "password": record.password}
    return ready


def _container_hint(port: int) -> str:
    if not os.path.exists("/.dockerenv"):
        return ""
    return f" (From a container, an app on the host may be host.docker.internal:{port}.)"

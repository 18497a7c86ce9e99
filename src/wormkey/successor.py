"""SIGUSR2: hands this daemon's listening sockets and its state over to a new process of it.

Owns the old process's half: it starts the new one while it goes on serving, quiets its API, stores
what is to be stored, and passes the rest on. No connection is refused meanwhile: the sockets stay
open in one process or the other. If the new one fails before it is ready, this one goes on as if
nothing had happened. passing.py has the conversation, docs/decisions/017 the reasons.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import trio
from attrs import define

from wormkey.errors import StoreError
from wormkey.inheritance import Inheritance
from wormkey.node import Node
from wormkey.notify import Notifier
from wormkey.passing import Channel

if TYPE_CHECKING:
    from collections.abc import Mapping


logger = logging.getLogger(__name__)

PREPARE_TIMEOUT_S: Final = 30.0  # a small machine takes seconds to import
LOAD_TIMEOUT_S: Final = 60.0  # 100,000 sessions take about two
# The new process must be init's child, or systemd's: systemd takes a main process that is somebody
# else's child for an alien, does not wait for it when it stops the service, and kills it at once.
_LAUNCHER: Final = """\
import os, sys
pid = os.fork()
if pid:
    os.write(int(sys.argv[1]), b'{"say": "started", "pid": %d}\\n' % pid)
    os._exit(0)
os.execv(sys.argv[2], sys.argv[2:])
"""
_CHANGED_TOGETHER_S: Final = 0.2  # changes of sessions are looked up together


class Pausable(Protocol):
    """Something that accepts from the listening sockets, and can stop it and go on."""

    async def pause(self) -> None:
        """Stop accepting, and finish what was accepted if it is short."""
        ...

    async def resume(self) -> None:
        """Accept again."""
        ...


@define(eq=False)
class Successor:
    """Hands over at SIGUSR2. ``bequeath`` says what there is to inherit, given the channel's end.

    ``accepting`` are paused in this order, and resumed if the new process fails.
    """

    node: Node
    notifier: Notifier
    bequeath: Callable[[int], Inheritance | None]
    accepting: tuple[Pausable, ...] = ()
    channel: Channel | None = None

    async def watch(self) -> None:
        """Hand over at SIGUSR2; returns when that was done and the new process says no more.

        Cancellation: before "go" nothing has happened; later the new process goes on alone.
        """
        with trio.open_signal_receiver(signal.SIGUSR2) as signals:
            async for _ in signals:
                await self.node.started.wait()
                if self.node.drain.draining:
                    logger.info("hand-over ignored", extra={"reason": "the daemon drains"})
                elif await self._hand_over():
                    break
        if self.channel is not None:
            await self._attend(self.channel)

    async def _hand_over(self) -> bool:
        ours, theirs = socket.socketpair()
        with theirs:
            inheritance = self.bequeath(theirs.fileno())
            if inheritance is None:
                ours.close()
                reason = "--store memory keeps sessions in this process alone; use --store sqlite"
                logger.error("hand-over refused", extra={"reason": reason})
                return False
            channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
            pid, reason = await _start(inheritance, os.environ, channel)
        if not reason:
            logger.info("handing over", extra={"pid": pid})
            try:
                reason = await self._pass_on(channel)
            except BaseException:
                _kill(pid)
                raise
        if reason:
            await channel.stream.aclose()
            _kill(pid)
            logger.error("hand-over failed", extra={"reason": reason, "pid": pid})
            return False
        self._retire(channel, pid)
        return True

    async def _pass_on(self, channel: Channel) -> str:
        """Let the new process take over; return why it could not, "" if it did."""
        with trio.move_on_after(PREPARE_TIMEOUT_S) as scope:
            if not await channel.hear_word("prepared"):
                return "the new process ended before it was prepared; its own lines say why"
        if scope.cancelled_caught:
            return f"the new process was not prepared within {PREPARE_TIMEOUT_S:g} s"
        drain = self.node.drain
        drain.passing = True  # who changes something from now on is sent on to the new process
        reason = "the daemon was stopped"
        try:
            for part in self.accepting:
                await part.pause()
            reason = await self._give(channel)
        finally:
            drain.passing = not reason
        if reason:
            self.node.journal.take_back()
            for part in reversed(self.accepting):
                await part.resume()
        return reason

    async def _give(self, channel: Channel) -> str:
        """Store everything, let the new process load it; return why it could not, "" if it did."""
        journal = self.node.journal
        await journal.flush()
        if journal.failing:
            return "the store takes nothing at the moment"
        journal.pass_on()
        if await channel.say("go"):
            with trio.move_on_after(LOAD_TIMEOUT_S):
                if await channel.hear_word("ready"):
                    return ""
        return "the new process did not get ready; its own lines say why"

    def _retire(self, channel: Channel, pid: int) -> None:
        """Serve what is open to its end; the rest is the new process's."""
        self.channel = channel
        self.node.journal.heir = channel.say_usage
        self.notifier.hand_over(pid)
        logger.info("handed over", extra={"pid": pid})
        self.node.drain.start()

    async def _attend(self, channel: Channel) -> None:
        """Look up the sessions that the new process says have changed, until it is gone."""
        while (told := await channel.hear()) is not None:
            changed = {str(told.get("session"))}
            with trio.move_on_after(_CHANGED_TOGETHER_S):
                while (more := await channel.hear()) is not None:
                    changed.add(str(more.get("session")))
            try:
                await self.node.changes.refresh(changed)
            except StoreError as error:
                logger.warning("changes not seen", extra={"reason": str(error)})


async def _start(
    inheritance: Inheritance, environ: Mapping[str, str], channel: Channel
) -> tuple[int, str]:
    """Start this program once more, with its arguments and these descriptors.

    Returns the new process's id, and why there is none, "" if there is.

    Cancellation: the new process may have begun; it ends with the channel.
    """
    launch = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(inheritance.channel)]
    try:
        with trio.move_on_after(PREPARE_TIMEOUT_S):
            await trio.run_process(
                [*launch, sys.executable, *sys.orig_argv[1:]],
                stdin=None,  # this process's own, as the other two
                env=inheritance.environment(environ),
                pass_fds=inheritance.descriptors,
            )
            told = await channel.hear()
            if told is not None and told.get("say") == "started":
                return int(told["pid"]), ""
    except (OSError, subprocess.CalledProcessError) as error:
        return 0, f"{sys.executable} cannot be started: {error}"
    return 0, f"{sys.executable} did not start"


def _kill(pid: int) -> None:
    """End a new process that is of no use; one that is gone already is no error."""
    if pid:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

"""SIGHUP: reads the configuration anew and applies what can change while the daemon runs.

A configuration that cannot be used changes nothing. What takes a restart (config.py says which) is
named in the log and stays as it was.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable
from typing import Final

import attrs
import trio
from attrs import define

from wormkey.advice import warnings_of
from wormkey.audit import OPERATOR, AuditEvent
from wormkey.config import OPTIONS, Settings
from wormkey.errors import ConfigError
from wormkey.logs import set_up_logging
from wormkey.node import Node
from wormkey.notify import Notifier
from wormkey.sources import check_together

logger = logging.getLogger(__name__)

READ_TIMEOUT_S: Final = 10.0  # a file on a share that is away must not keep a thread's answer open


@define(eq=False)
class Reloader:
    """Reloads one daemon; ``load`` reads flags, environment and file as the start did."""

    node: Node
    notifier: Notifier
    load: Callable[[], Settings]
    line: Callable[[], str]  # the status line afterwards

    async def watch(self) -> None:
        """Reload at every SIGHUP, one after the other, for ever.

        Cancellation: stops; a reload is applied wholly or not at all.
        """
        with trio.open_signal_receiver(signal.SIGHUP) as signals:
            async for _ in signals:
                await self.node.started.wait()  # READY=1 would come too early
                if self.node.drain.draining:
                    logger.info("reload ignored", extra={"reason": "the daemon drains"})
                else:
                    await self.reload()

    async def reload(self) -> None:
        """Read and apply the configuration once; its faults are logged and change nothing.

        Cancellation: nothing has changed.
        """
        self.notifier.reloading()
        try:
            with trio.fail_after(READ_TIMEOUT_S):
                wanted = await trio.to_thread.run_sync(self.load, abandon_on_cancel=True)
            self._apply(wanted)
        except ConfigError as error:
            logger.error("reload failed", extra={"reason": str(error)})  # noqa: TRY400 - no bug
        except trio.TooSlowError:
            reason = f"the configuration could not be read within {READ_TIMEOUT_S:.0f} s"
            logger.error("reload failed", extra={"reason": reason})  # noqa: TRY400 - no bug
        except Exception:
            logger.exception("reload failed")
        self.notifier.ready(self.line())

    def _apply(self, wanted: Settings) -> None:
        old = self.node.settings
        new, changed, waiting = merge(old, wanted)
        check_together(new)
        self.node.apply(new)
        if (old.log_format, old.log_level) != (new.log_format, new.log_level):
            set_up_logging(new.log_format, new.log_level, sys.stderr)
        names = " ".join(changed) or "nothing"
        record = self.node.registry.trail.record(
            AuditEvent.CONFIG_RELOADED, OPERATOR, changed=names
        )
        self.node.journal.behind(record)
        logger.info("reloaded", extra={"changed": names})
        if waiting:
            logger.warning("restart needed", extra={"options": " ".join(waiting)})
        for warning in warnings_of(new):
            logger.warning("configuration", extra={"warning": warning})


def merge(old: Settings, wanted: Settings) -> tuple[Settings, list[str], list[str]]:
    """Return ``old`` with what of ``wanted`` may change live, the flags that did, and the others.

    The others are flags whose values differ and take a restart.
    """
    differing = [
        option for option in OPTIONS if getattr(old, option.field) != getattr(wanted, option.field)
    ]
    changes = {option.field: getattr(wanted, option.field) for option in differing if option.live}
    return (
        attrs.evolve(old, **changes),
        [option.flag for option in differing if option.live],
        [option.flag for option in differing if not option.live],
    )

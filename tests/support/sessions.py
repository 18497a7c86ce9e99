"""A registry on a memory store, a clock that tests set, an upstream that only remembers."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from wormkey.access import Access
from wormkey.audit import Actor
from wormkey.changes import Changes
from wormkey.config import Settings
from wormkey.errors import AdmissionError, ErrorCode, TunnelError
from wormkey.journal import Journal
from wormkey.registry import Created, Registry
from wormkey.routes.local import LocalRoutes
from wormkey.store.memory import MemoryStore
from wormkey.trail import Trail
from wormkey.wishes import NewSession

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from wormkey.frames import RequestHead
    from wormkey.routes import UpstreamStream
    from wormkey.session import Session

OWNER = Actor("owner", "192.0.2.9")
START = datetime(2030, 1, 1, tzinfo=UTC)
HOUR_S = 3600


@define(eq=False)
class FakeUpstream:
    """An upstream that only remembers."""

    version: int = 1
    paused: bool = False
    takes_streams: bool = True
    closed: ErrorCode | None = None

    @property
    def nursery(self) -> trio.Nursery:
        """Raise: nothing runs here."""
        raise self.lost()

    def lost(self) -> TunnelError:
        """Return the error."""
        return TunnelError("lost")

    def open_stream(self, head: RequestHead, *, end_stream: bool) -> UpstreamStream:
        """Raise: nothing runs here."""
        raise self.lost()

    def close(self, code: ErrorCode, detail: str = "") -> None:
        """Remember the code."""
        self.closed = code


@define
class Clock:
    """A wall clock that tests set."""

    time: datetime = START

    def __call__(self) -> datetime:
        """Return the time."""
        return self.time

    def pass_s(self, seconds: float) -> datetime:
        """Let time pass and return the new time."""
        self.time += timedelta(seconds=seconds)
        return self.time


@define
class Daemon:
    """A registry on a memory store; ``restart`` keeps only the store."""

    settings: Settings
    clock: Clock = field(factory=Clock)
    store: MemoryStore = field(factory=MemoryStore)
    routes: LocalRoutes = field(factory=LocalRoutes)
    journal: Journal = field(init=False)
    registry: Registry = field(init=False)
    access: Access = field(init=False)
    changes: Changes = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.journal = Journal(self.store, self.routes.meters, self.settings.audit_records)
        trail = Trail(self.clock, self.journal.publish, self.journal.behind)
        self.registry = Registry(self.store, self.routes, self.clock, self.settings, trail)
        self.changes = Changes(self.registry)
        self.access = Access(self.store, self.clock, self.settings, trail, self.journal.use_token)

    async def create(self, created_by: str = "token:a", **wish: Any) -> Created:
        """Make a session of an hour."""
        whole = NewSession(**{"port": 5173, "expires_in_s": HOUR_S} | wish)
        return await self.registry.create(whole, Actor(created_by))

    async def restart(self) -> Daemon:
        """Return a daemon that knows only what was stored."""
        daemon = Daemon(self.settings, self.clock, self.store)
        await daemon.registry.load()
        return daemon

    def attach(self, session: Session) -> FakeUpstream:
        """Give the session a tunnel."""
        upstream = FakeUpstream()
        self.routes.attach(session.slug, upstream)
        return upstream


def refusal(call: Callable[..., object], *args: object) -> tuple[int, str]:
    """Return status and code of the error that the call meets."""
    with pytest.raises(AdmissionError) as caught:
        call(*args)
    return caught.value.status, caught.value.code


def basic(user_pass: str) -> bytes:
    """Return an Authorization value."""
    return b"Basic " + base64.b64encode(user_pass.encode())

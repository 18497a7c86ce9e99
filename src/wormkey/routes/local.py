"""The routes of this process: slug to session and tunnel, in memory.

Owns which sessions viewers can find, which tunnel serves each, who waits for a client that is
away, and the bounded memory of ended sessions (they answer 410 until their grace is over).
Never touches the store and never reads a request.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, field

from wormkey.crowd import Crowd
from wormkey.overlay import Decoding
from wormkey.routes import Upstream
from wormkey.session import Session
from wormkey.usage import Meter
from wormkey.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ENDED: Final = 10_000  # about 1.3 KiB each; beyond, the oldest answers 404 instead of 410


@define(eq=False)
class Entry:
    """One slug's route; ``session`` is replaced when its policy or state changes."""

    session: Session
    upstream: Upstream | None = None
    ended: bool = False
    waiting: int = 0  # requests held for a client that is away; the gateway bounds them
    meter: Meter = field(factory=Meter)  # what it has carried
    tunnels: int = 0  # that it has had in this process
    decoding: Decoding = field(factory=Decoding)
    watch: Watch | None = None  # made when an owner first looks
    _crowd: Crowd | None = None
    _changed: trio.Event = field(factory=trio.Event)

    async def wait_upstream(self, timeout_s: float) -> Upstream | None:
        """Return the tunnel, waiting up to ``timeout_s`` seconds; None if none came or it ended.

        Cancellation: safe, nothing is taken.
        """
        if timeout_s > 0 and not self._settled:
            self.waiting += 1
            try:
                with trio.move_on_after(timeout_s):
                    while not self._settled:
                        await self._changed.wait()
            finally:
                self.waiting -= 1
        return self.upstream

    @property
    def crowd(self) -> Crowd:
        """Everybody who is here; made at the first visit, since most sessions see none."""
        if self._crowd is None:
            self._crowd = Crowd.of(self.session.kicked)
        return self._crowd

    def watched(self) -> Watch:
        """Return the bell of this session, hung up now if it was not."""
        if self.watch is None:
            self.watch = Watch()
        return self.watch

    def ring(self) -> None:
        """Tell whoever watches that something changed."""
        if self.watch is not None:
            self.watch.ring()

    @property
    def paused(self) -> bool:
        """Whether the client, or the owner in his browser, asked for no new requests."""
        return self.session.paused or (self.upstream is not None and self.upstream.paused)

    @property
    def _settled(self) -> bool:
        return self.ended or self.upstream is not None

    def attach(self, upstream: Upstream) -> Upstream | None:
        """Make ``upstream`` the route's end and wake all who wait; return the one it replaces."""
        self.tunnels += 1
        old, self.upstream = self.upstream, upstream
        self._wake()
        return old

    def detach(self, upstream: Upstream) -> bool:
        """Forget ``upstream`` if it is still the current one; False if another replaced it."""
        if self.upstream is not upstream:
            return False
        self.upstream = None
        self.ring()
        return True

    def end(self, session: Session) -> Upstream | None:
        """Mark the session as over and wake all who wait; return the tunnel, to be closed."""
        self.session, self.ended = session, True
        old, self.upstream = self.upstream, None
        self._changed.set()  # for good: there are ten thousand of these, a fresh event is a fifth
        self.ring()
        return old

    def _wake(self) -> None:
        # A fresh event for later waiters: those of the old one look again and go back to wait.
        changed, self._changed = self._changed, trio.Event()
        changed.set()
        self.ring()


@define(eq=False)
class LocalRoutes:
    """All routes of this process, live and lately ended."""

    max_ended: int = MAX_ENDED
    _entries: dict[str, Entry] = field(factory=dict)
    _by_id: dict[str, Entry] = field(factory=dict)
    _ended: OrderedDict[str, Entry] = field(factory=OrderedDict)
    _live_by: Counter[str] = field(factory=Counter)

    def add(self, session: Session) -> Entry:
        """Make a live session findable; it takes the place of an ended one of the same slug."""
        old = self._entries.get(session.slug)
        if old is not None:
            if not old.ended:
                raise ValueError(f"the slug {session.slug} is live already")
            self.remove(session.slug)
        entry = Entry(session)
        self._entries[session.slug] = entry
        self._by_id[session.session_id] = entry
        self._live_by[session.created_by] += 1
        return entry

    def find(self, slug: str) -> Entry | None:
        """Return the slug's entry, live or ended (``entry.ended``); None if nobody has it."""
        return self._entries.get(slug)

    def find_id(self, session_id: str) -> Entry | None:
        """Return the entry of the session with this id."""
        return self._by_id.get(session_id)

    def attach(self, slug: str, upstream: Upstream) -> Upstream | None:
        """Give a live slug its tunnel and wake who waits; return the tunnel it replaces, to close.

        Raises:
            KeyError: no such slug, or its session has ended.
        """
        entry = self._entries[slug]
        if entry.ended:
            raise KeyError(slug)
        return entry.attach(upstream)

    def detach(self, slug: str, upstream: Upstream) -> bool:
        """Forget a tunnel that was lost; False if it was not the current one any more."""
        entry = self._entries.get(slug)
        return entry is not None and entry.detach(upstream)

    def end(self, session: Session) -> Upstream | None:
        """Turn a session's entry into its tombstone; return the tunnel for the caller to close."""
        entry = self._by_id.get(session.session_id)
        if entry is None or entry.ended:
            return None
        upstream = entry.end(session)
        self._forget_live(entry)
        self._ended[session.slug] = entry
        while len(self._ended) > self.max_ended:
            self.remove(next(iter(self._ended)))
        return upstream

    def add_ended(self, session: Session) -> Entry:
        """Remember a session that was over already when it was loaded."""
        entry = self.add(session)
        self.end(session)
        return entry

    def remove(self, slug: str) -> None:
        """Forget a slug altogether; it answers 404 from now on."""
        entry = self._entries.pop(slug, None)
        if entry is not None:
            if not entry.ended:
                self._forget_live(entry)
            self._by_id.pop(entry.session.session_id, None)
            self._ended.pop(slug, None)

    def live_of(self, created_by: str) -> int:
        """Return how many live sessions this principal has."""
        return self._live_by[created_by]

    def _forget_live(self, entry: Entry) -> None:
        created_by = entry.session.created_by
        self._live_by[created_by] -= 1
        if not self._live_by[created_by]:
            del self._live_by[created_by]

    def entries(self) -> Iterator[Entry]:
        """Return the live entries, over a copy: callers may change the routes meanwhile."""
        return iter([entry for entry in self._entries.values() if not entry.ended])

    def ended_entries(self) -> Iterator[Entry]:
        """Return the tombstones, oldest end first as far as this process saw them, over a copy."""
        return iter(list(self._ended.values()))

    def meters(self) -> Iterator[tuple[str, Meter]]:
        """Yield each session's id and meter, ended ones too: their last sums may not be stored."""
        for entry in self._entries.values():
            yield entry.session.session_id, entry.meter

    def meter_of(self, session_id: str) -> Meter | None:
        """Return a session's meter; None where the session is forgotten."""
        entry = self._by_id.get(session_id)
        return None if entry is None else entry.meter

    def __len__(self) -> int:
        """Return how many live sessions there are."""
        return len(self._entries) - len(self._ended)

"""Viewers: who is who, how many there are, and who was removed.

A viewer is a browser that brings the gateway's cookie back. Until it does, all cookie-less
requests of one address are one viewer; when it does, it is that same one. Owns what is in the
cookie, the ids that owners see, and the table of one session's viewers. Pure: time (seconds of
a monotonic clock) and randomness come in as arguments; what is open is told by callables.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from attrs import define, field, frozen

from wormkey.signing import SigningKey, base64url

SEEN_S: Final = 60.0  # a viewer counts so long after his last request
MAX_KNOWN: Final = 10_000  # about 500 B each; beyond it the one seen longest ago is forgotten
MAX_ISSUED: Final = 64  # cookies given to one address that have not come back yet
ID_BYTES: Final = 16
COOKIE_AGE_S: Final = 30 * 24 * 60 * 60  # as long as the longest session
_COOKIE: Final = "viewer cookie"
_PUBLIC_ID_BYTES: Final = 12


def mint(key: SigningKey, random: bytes) -> bytes:
    """Return a new viewer cookie's value for ID_BYTES random bytes."""
    if len(random) != ID_BYTES:
        raise ValueError(f"mint takes {ID_BYTES} bytes, not {len(random)}")
    return key.seal(_COOKIE, base64url(random))


def read(key: SigningKey, values: Iterable[bytes]) -> bytes | None:
    """Return the name in the first cookie value that this daemon made; None if there is none."""
    return next((name for value in values if (name := key.open(_COOKIE, value)) is not None), None)


def id_of(key: SigningKey, session_id: str, *, cookie: bytes = b"", address: str = "") -> str:
    """Return the id under which one session's owner sees a cookie, or an address.

    Another session's owner sees another one: nobody can be followed from app to app.
    """
    kind = "viewer" if cookie else "address"
    part = cookie or address.encode()
    tag = key.tag(kind, session_id.encode(), part, size_bytes=_PUBLIC_ID_BYTES)
    return tag.decode("ascii")


@frozen
class ViewerIds:
    """What tells one request's viewer: the id of its cookie, if it brought one, and its address's.

    ``address`` and ``agent`` are for people: texts that the owner sees.
    """

    by_cookie: str | None
    by_address: str
    address: str = ""
    agent: str = ""


@define(eq=False)
class Viewer:
    """One viewer of one session; ``last_seen`` and ``first_seen`` are monotonic seconds."""

    viewer_id: str
    address_id: str
    address: str
    first_seen: float
    last_seen: float
    agent: str = ""
    number: int = 0  # his place in the row of those who came
    requests: int = 0
    owner: bool = False  # he takes no viewer's place
    _book: dict[str, Viewer] = field(factory=dict, repr=False)  # of all that was given to anybody
    _issued: deque[str] = field(factory=deque)
    _open: set[Callable[[], None]] = field(factory=set)

    @property
    def open_streams(self) -> int:
        """How many of his exchanges are under way."""
        return len(self._open)

    @property
    def ids(self) -> tuple[str, ...]:
        """Every id that he may come back under: his own, his address's, and of cookies he has."""
        return tuple(dict.fromkeys((self.viewer_id, self.address_id, *self._issued)))

    def issue(self, cookie_id: str) -> None:
        """Remember that a cookie was given to him, maybe again: who brings it is he."""
        if self._book.get(cookie_id) is self:
            return
        if len(self._issued) >= MAX_ISSUED:
            self._book.pop(self._issued.popleft(), None)
        self._issued.append(cookie_id)
        self._book[cookie_id] = self

    def forget_issued(self) -> None:
        """Let cookies that were given to him, and are not his, be somebody else's."""
        while self._issued:
            self._book.pop(self._issued.popleft(), None)

    def begin(self, cut: Callable[[], None]) -> None:
        """Note an exchange; ``cut`` ends it when he is removed."""
        self._open.add(cut)

    def end(self, cut: Callable[[], None], now: float) -> None:
        """Note that an exchange is over; he was here until now."""
        self._open.discard(cut)
        self.last_seen = max(self.last_seen, now)

    def cut(self) -> None:
        """End everything that he has open."""
        for cut in list(self._open):
            cut()


@define(eq=False)
class Viewers:
    """The viewers of one session, and the ids of those that its owner removed."""

    removed: frozenset[str] = frozenset()
    max_known: int = MAX_KNOWN
    _known: OrderedDict[str, Viewer] = field(factory=OrderedDict)
    _issued: dict[str, Viewer] = field(
        factory=dict
    )  # by what each nameless one may come back under
    _came: int = 0

    def is_removed(self, ids: ViewerIds) -> bool:
        """Tell whether the owner removed who comes under these ids."""
        return (ids.by_cookie or ids.by_address) in self.removed

    def arrive(
        self, ids: ViewerIds, limit: int, now: float, *, owner: bool = False
    ) -> Viewer | None:
        """Return who makes a request now, counted; None if he would be one too many.

        ``limit`` is how many may be here at a time beside owners, 0 for any number. Whoever is
        here already stays welcome, however the limit changed meanwhile.
        """
        self._sweep(now)
        viewer = self._find(ids)
        takes_place = not owner and (viewer is None or viewer.owner)
        if limit and takes_place and self._is_full(limit):
            return None
        if viewer is None:
            self._came += 1
            viewer = Viewer(
                viewer_id=ids.by_cookie or ids.by_address,
                address_id=ids.by_address,
                address=ids.address,
                first_seen=now,
                last_seen=now,
                agent=ids.agent,
                number=self._came,
                book=self._issued,
            )
            self._known[viewer.viewer_id] = viewer
            while len(self._known) > self.max_known:
                self._known.popitem(last=False)[1].forget_issued()
        viewer.owner = owner
        viewer.requests += 1
        viewer.last_seen = now
        viewer.address_id, viewer.address = ids.by_address, ids.address
        self._known.move_to_end(viewer.viewer_id)
        return viewer

    def _is_full(self, limit: int) -> bool:
        if len(self._known) < limit:
            return False
        return sum(not viewer.owner for viewer in self._known.values()) >= limit

    def _find(self, ids: ViewerIds) -> Viewer | None:
        known = self._known.get(ids.by_cookie or ids.by_address)
        if known is not None or ids.by_cookie is None:
            return known
        nameless = self._issued.get(ids.by_cookie)
        if nameless is None:
            return None
        # The browser that was one of an address's nameless requests has brought its cookie back, by
        # whichever address: it may have one of each IP version.
        del self._known[nameless.viewer_id]
        nameless.viewer_id = ids.by_cookie
        nameless.forget_issued()
        self._known[ids.by_cookie] = nameless
        return nameless

    def _sweep(self, now: float) -> None:
        """Forget who has left. Oldest first; who still has something open was seen just now."""
        while self._known:
            viewer = next(iter(self._known.values()))
            if now - viewer.last_seen < SEEN_S:
                return
            if viewer.open_streams:
                viewer.last_seen = now
                self._known.move_to_end(viewer.viewer_id)
            else:
                del self._known[viewer.viewer_id]
                viewer.forget_issued()

    def here(self, now: float) -> Iterator[Viewer]:
        """Return who is here, first come first."""
        self._sweep(now)
        return iter(sorted(self._known.values(), key=lambda viewer: viewer.first_seen))

    def ids_of(self, viewer_id: str) -> tuple[str, ...]:
        """Return every id that a viewer may come back under; just the given one if he left."""
        viewer = self._known.get(viewer_id)
        return (viewer_id,) if viewer is None else viewer.ids

    def remove(self, removed: Collection[str]) -> None:
        """Refuse these ids from now on, and end what they have open."""
        self.removed = frozenset(removed)
        for viewer in list(self._known.values()):
            if viewer.viewer_id in self.removed:
                del self._known[viewer.viewer_id]
                viewer.forget_issued()
                viewer.cut()

    def __len__(self) -> int:
        """Return how many are remembered."""
        return len(self._known)

"""What a daemon acknowledged before it was killed, and whether its store still says so.

Workers talk to the control plane and write into a Ledger what they were told; a call that was cut
leaves both outcomes open. ``check`` compares that with the store's file, row by row.
"""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from tests.support.viewer import CutError
from tests.support.world import call
from wormkey.rules import Policy

if TYPE_CHECKING:
    from pathlib import Path

CUT = (OSError, trio.BrokenResourceError, CutError, ValueError)


@define(eq=False)
class Told:
    """A session that was acknowledged, and for each of its facts what may be true."""

    session_id: str
    slug: str
    session_token: str
    owner_token: str
    closed: set[bool] = field(factory=lambda: {False})
    viewers: set[int | None] = field(factory=lambda: {Policy().max_concurrent_viewers})
    kicked: set[tuple[str, ...]] = field(factory=lambda: {()})

    @property
    def live(self) -> bool:
        """Whether it certainly lives."""
        return self.closed == {False}


@define(eq=False)
class Ledger:
    """All that was acknowledged, over all the lives of one state folder."""

    sessions: dict[str, Told] = field(factory=dict)
    tokens: dict[str, bool] = field(factory=dict)  # by name: whether it is still there
    unanswered: int = 0  # creations that were cut; each may have made a session
    acknowledged: Counter[str] = field(factory=Counter)
    numbers: int = 0

    def number(self) -> int:
        """Return a number that was not used yet."""
        self.numbers += 1
        return self.numbers

    def check(self, store: Path) -> None:
        """Compare with the file; what was open is known afterwards."""
        with closing(sqlite3.connect(store)) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
            rows = connection.execute(
                "SELECT session_id, slug, closed_at, policy, kicked FROM session"
            ).fetchall()
            tokens = {row[0] for row in connection.execute("SELECT name FROM access_token")}
            traces = Counter(connection.execute("SELECT event, session_id FROM audit").fetchall())
        assert verdict == "ok"
        assert tokens == {name for name, there in self.tokens.items() if there}
        found = {row[0]: row for row in rows}
        assert self.sessions.keys() <= found.keys(), "an acknowledged session is gone"
        assert len(found) - len(self.sessions) <= self.unanswered
        for session_id, told in self.sessions.items():
            _compare(told, found[session_id])
        # Nothing is half there: each act with its trace, each trace with its act.
        for session_id, row in found.items():
            assert traces["session.created", session_id] == 1
            assert traces["session.closed", session_id] == (row[2] is not None)
        created = sum(count for (event, _), count in traces.items() if event == "session.created")
        assert created == len(found)


def _compare(told: Told, row: tuple[Any, ...]) -> None:
    _, slug, closed_at, policy, kicked = row
    assert slug == told.slug
    assert (closed_at is not None) in told.closed, (told, row)
    assert json.loads(policy)["maxConcurrentViewers"] in told.viewers, (told, row)
    assert tuple(json.loads(kicked)) in told.kicked, (told, row)
    told.closed = {closed_at is not None}
    told.viewers = {json.loads(policy)["maxConcurrentViewers"]}
    told.kicked = {tuple(json.loads(kicked))}


@define(eq=False)
class Worker:
    """Creates, changes and closes sessions of its own, one call after the other."""

    ledger: Ledger
    dice: random.Random
    mine: list[Told] = field(factory=list)

    async def run(self, control: tuple[str, int]) -> None:
        """Work until the daemon is gone."""
        acts = (self.create, self.create, self.change, self.kick, self.close)
        try:
            while True:
                await self.dice.choice(acts)(control)
        except CUT:
            self.mine = self.mine[-50:]

    def _pick(self) -> Told | None:
        live = [told for told in self.mine if told.live]
        return self.dice.choice(live) if live else None

    async def create(self, control: tuple[str, int]) -> None:
        """Make a session."""
        self.ledger.unanswered += 1
        status, made = await call(control, "POST", "/sessions", body={"port": 1})
        assert status == 201, made
        self.ledger.unanswered -= 1
        told = Told(
            made["sessionId"],
            made["slug"],
            made["sessionToken"],
            made["ownerUrl"].rpartition("token=")[2],
        )
        self.ledger.sessions[told.session_id] = told
        self.ledger.acknowledged["created"] += 1
        self.mine.append(told)

    async def change(self, control: tuple[str, int]) -> None:
        """Give one a limit that no session had."""
        told = self._pick()
        if told is not None:
            limit = self.ledger.number() % 9_999 + 1
            told.viewers.add(limit)
            await self._post(control, told, "policy", {"maxConcurrentViewers": limit})
            told.viewers = {limit}
            self.ledger.acknowledged["changed"] += 1

    async def kick(self, control: tuple[str, int]) -> None:
        """Remove a viewer whom nobody knows."""
        told = self._pick()
        if told is not None and len(told.kicked) == 1:
            viewer = f"viewer-{self.ledger.number()}"
            after = (*next(iter(told.kicked)), viewer)
            told.kicked.add(after)
            await self._post(control, told, "kick", {"viewerId": viewer})
            told.kicked = {after}
            self.ledger.acknowledged["kicked"] += 1

    async def close(self, control: tuple[str, int]) -> None:
        """End one."""
        told = self._pick()
        if told is not None:
            told.closed.add(True)
            path = f"/sessions/{told.session_id}"
            status, answer = await call(control, "DELETE", path, token=told.session_token)
            assert status == 200, answer
            told.closed = {True}
            self.ledger.acknowledged["closed"] += 1

    async def _post(
        self, control: tuple[str, int], told: Told, act: str, body: dict[str, object]
    ) -> None:
        path = f"/sessions/by-slug/{told.slug}/{act}"
        status, answer = await call(control, "POST", path, token=told.owner_token, body=body)
        assert status == 200, answer

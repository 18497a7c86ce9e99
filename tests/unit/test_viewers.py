"""Viewers: a cookie that only the gateway makes, a count that is right, a removal that holds."""

from __future__ import annotations

import os

import pytest

from wormkey.signing import SigningKey
from wormkey.viewers import (
    ID_BYTES,
    MAX_ISSUED,
    SEEN_S,
    Viewer,
    ViewerIds,
    Viewers,
    id_of,
    mint,
    read,
)

KEY = SigningKey(b"k" * 32)


def nameless(address: str = "A") -> ViewerIds:
    """A request without a cookie."""
    return ViewerIds(None, address, address)


def named(cookie: str, address: str = "A") -> ViewerIds:
    """A request that brings a cookie."""
    return ViewerIds(cookie, address, address)


def visit(viewers: Viewers, ids: ViewerIds, *, limit: int = 0, now: float = 0.0) -> Viewer:
    """Arrive, and be let in."""
    viewer = viewers.arrive(ids, limit, now)
    assert viewer is not None
    return viewer


# ── the cookie ──────────────────────────────────────────────────────────────────────────────


def test_a_cookie_reads_back_and_no_two_are_equal() -> None:
    """What the gateway made it knows again, among others of the same name too."""
    values = {mint(KEY, os.urandom(ID_BYTES)) for _ in range(10)}
    names = {read(KEY, [b"planted.x", value]) for value in values}
    assert len(values) == len(names) == 10
    assert None not in names
    assert read(KEY, [b"planted.x"]) is None
    assert read(KEY, []) is None


def test_ids_differ_by_session_and_tell_nothing() -> None:
    """Two owners cannot compare notes, and an id is no cookie and no address."""
    ids = [
        id_of(KEY, "s1", cookie=b"c"),
        id_of(KEY, "s2", cookie=b"c"),
        id_of(KEY, "s1", address="c"),
        id_of(KEY, "s1", address="192.0.2.1"),
        id_of(SigningKey(b"l" * 32), "s1", cookie=b"c"),
    ]
    assert len(set(ids)) == len(ids)
    assert id_of(KEY, "s1", cookie=b"c") == ids[0]


# ── who is who ──────────────────────────────────────────────────────────────────────────────


def test_an_addresss_nameless_requests_are_one_viewer() -> None:
    """However many, and two addresses are two."""
    viewers = Viewers()
    first = visit(viewers, nameless("A"))
    assert visit(viewers, nameless("A")) is first
    assert visit(viewers, nameless("B")) is not first
    assert len(viewers) == 2
    assert first.requests == 2


def test_who_brings_the_cookie_back_is_the_same_one() -> None:
    """The count does not rise, and what was open stays his."""
    viewers = Viewers()
    viewer = visit(viewers, nameless())
    viewer.issue("c1")
    assert visit(viewers, named("c1"), limit=1) is viewer
    assert viewer.viewer_id == "c1"
    assert len(viewers) == 1
    assert visit(viewers, named("c1", "elsewhere"), limit=1) is viewer


def test_who_brings_the_cookie_back_by_another_address_is_the_same_one() -> None:
    """A page by IPv6 and its assets by IPv4 are one visitor."""
    viewers = Viewers()
    viewer = visit(viewers, nameless("A"))
    viewer.issue("c1")
    assert visit(viewers, named("c1", "B"), limit=1) is viewer
    assert (len(viewers), viewer.address) == (1, "B")


def test_a_cookie_of_who_has_left_is_somebody_new() -> None:
    """Nothing of him is kept, and nothing of who was removed."""
    viewers = Viewers()
    visit(viewers, nameless("A")).issue("c1")
    assert viewers.arrive(named("c1", "B"), 1, SEEN_S) is not None
    visit(viewers, nameless("C")).issue("c2")
    viewers.remove(("C",))
    assert visit(viewers, named("c2", "B")).requests == 1
    assert viewers._issued == {}


def test_two_browsers_of_one_address_become_two() -> None:
    """The first to return is the nameless one; the second is another."""
    viewers = Viewers()
    viewer = visit(viewers, nameless())
    viewer.issue("c1")
    viewer.issue("c2")
    assert visit(viewers, named("c2")) is viewer
    assert visit(viewers, named("c1")) is not viewer
    assert len(viewers) == 2


def test_a_cookie_of_long_ago_takes_nobodys_place() -> None:
    """Who comes back after days is not the program that calls from his address just now."""
    viewers = Viewers()
    program = visit(viewers, nameless())
    assert visit(viewers, named("old")) is not program
    assert visit(viewers, nameless()) is program


def test_cookies_that_never_come_back_are_bounded() -> None:
    """A program without a cookie jar is given one each time; the last ones are remembered."""
    viewers = Viewers()
    program = visit(viewers, nameless())
    for number in range(MAX_ISSUED + 1):
        program.issue(f"c{number}")
    assert visit(viewers, named("c0")) is not program
    assert visit(viewers, named(f"c{MAX_ISSUED}")) is program


# ── how many ────────────────────────────────────────────────────────────────────────────────


def test_of_two_hundred_visitors_twenty_are_let_in_and_stay() -> None:
    """The 21st is refused, the 20 stay, and a place frees when one has left."""
    viewers = Viewers()
    admitted = [viewers.arrive(named(f"c{n}"), 20, 0.0) for n in range(200)]
    assert [viewer is not None for viewer in admitted] == [True] * 20 + [False] * 180
    assert all(viewers.arrive(named(f"c{n}"), 20, SEEN_S - 1) for n in range(1, 20))
    assert viewers.arrive(named("c20"), 20, SEEN_S - 1) is None
    assert viewers.arrive(named("c20"), 20, SEEN_S) is not None  # c0 was not seen since
    assert viewers.arrive(named("c0"), 20, SEEN_S) is None


def test_who_has_a_stream_open_is_here() -> None:
    """For hours, without another request; a minute after its end he is not."""
    viewers = Viewers()
    viewer = visit(viewers, named("c1"), limit=1)

    def cut() -> None:
        """End the stream."""

    viewer.begin(cut)
    assert viewers.arrive(named("c2"), 1, 9999.0) is None
    viewer.end(cut, 10_000.0)
    assert viewers.arrive(named("c2"), 1, 10_000.0 + SEEN_S - 1) is None
    assert viewers.arrive(named("c2"), 1, 10_000.0 + SEEN_S) is not None


def test_a_lower_limit_sends_nobody_away() -> None:
    """Those who are here stay; the next newcomer meets the new limit."""
    viewers = Viewers()
    for name in ("a", "b", "c"):
        visit(viewers, named(name), limit=3)
    assert all(viewers.arrive(named(name), 1, 1.0) for name in ("a", "b", "c"))
    assert viewers.arrive(named("d"), 1, 1.0) is None


def test_no_limit_is_no_memory_without_bound() -> None:
    """A million strangers are ten thousand in the table."""
    viewers = Viewers(max_known=3)
    for number in range(10):
        visit(viewers, named(f"c{number}"))
    assert [viewer.viewer_id for viewer in viewers.here(0.0)] == ["c7", "c8", "c9"]


# ── who was removed ─────────────────────────────────────────────────────────────────────────


def test_a_removed_viewer_is_cut_and_stays_away() -> None:
    """Everything that he has open ends; his cookie and his address without one are refused."""
    viewers = Viewers()
    viewer, other = visit(viewers, named("c1", "A")), visit(viewers, named("c2", "A"))
    ended: list[str] = []
    viewer.begin(lambda: ended.append("page"))
    viewer.begin(lambda: ended.append("socket"))
    other.begin(lambda: ended.append("other"))
    assert viewers.ids_of("c1") == ("c1", "A")
    viewers.remove(viewers.ids_of("c1"))
    assert sorted(ended) == ["page", "socket"]
    assert viewers.is_removed(named("c1", "A"))
    assert viewers.is_removed(named("c1", "B"))  # he moved
    assert viewers.is_removed(nameless("A"))  # he deleted his cookie
    assert not viewers.is_removed(named("c2", "A"))
    assert [known.viewer_id for known in viewers.here(0.0)] == ["c2"]


def test_who_has_left_can_still_be_removed() -> None:
    """By the id that the owner saw."""
    viewers = Viewers()
    assert viewers.ids_of("gone") == ("gone",)
    viewers.remove(["gone"])
    assert viewers.is_removed(named("gone"))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_too_little_randomness_is_a_bug(size: int) -> None:
    """A short id could be guessed."""
    with pytest.raises(ValueError, match="16"):
        mint(KEY, b"x" * size)


def test_a_cookie_that_is_given_again_is_one_cookie() -> None:
    """A connection's cookieless requests get the same: it takes one place among those issued."""
    viewers = Viewers()
    viewer = visit(viewers, nameless("A"))
    for _ in range(MAX_ISSUED + 1):
        viewer.issue("c1")
    assert viewer.ids.count("c1") == 1
    assert len(viewer._issued) == 1

"""The crowd of a session: counted right, slowed to the owner's rates, cut when shut out."""

from __future__ import annotations

import pytest

from wormkey.crowd import BURST_S, Crowd
from wormkey.errors import AdmissionError
from wormkey.policy import Facts
from wormkey.rules import OPEN_TO_ALL, Policy
from wormkey.viewers import SEEN_S, Viewer, ViewerIds


def ids(name: str, address: str = "A") -> ViewerIds:
    """Return what a browser with this cookie shows."""
    return ViewerIds(name, address, address)


def enter(
    crowd: Crowd, rules: Policy, name: str, now: float = 0.0, *, owner: bool = False
) -> Viewer:
    """Make a request."""
    return crowd.enter(rules, ids(name), now, owner=owner)


def refused(crowd: Crowd, rules: Policy, name: str, now: float = 0.0) -> tuple[int, str]:
    """Return status and code of the refusal that a request meets; 429 says when to come again."""
    with pytest.raises(AdmissionError) as caught:
        enter(crowd, rules, name, now)
    if caught.value.status == 429:
        (retry,) = caught.value.fields
        assert retry[0] == b"Retry-After"
        assert int(retry[1]) >= 1
    return caught.value.status, caught.value.code


def hold(crowd: Crowd, viewer: Viewer, target: bytes = b"/") -> list[str]:
    """Open a stream; the list tells whether it was cut."""
    ended: list[str] = []
    crowd.begin(viewer, Facts(target=target), lambda: ended.append(viewer.viewer_id))
    return ended


def test_twenty_viewers_are_the_default() -> None:
    """The 21st is refused with a time to come again; the owner is not counted out."""
    crowd = Crowd()
    for number in range(20):
        enter(crowd, OPEN_TO_ALL, f"v{number}")
    assert refused(crowd, OPEN_TO_ALL, "late") == (429, "too_many_viewers")
    assert enter(crowd, OPEN_TO_ALL, "owner", owner=True)
    assert enter(crowd, OPEN_TO_ALL, "v0")
    assert enter(crowd, OPEN_TO_ALL, "late", SEEN_S)


def test_the_owner_takes_no_viewers_place() -> None:
    """Whoever comes first; and one who is no owner any more counts again."""
    crowd, rules = Crowd(), Policy(max_concurrent_viewers=1)
    enter(crowd, rules, "owner", owner=True)
    enter(crowd, rules, "other owner", owner=True)
    assert enter(crowd, rules, "a")
    assert refused(crowd, rules, "late") == (429, "too_many_viewers")
    assert enter(crowd, rules, "owner", owner=True)
    assert refused(crowd, rules, "owner") == (429, "too_many_viewers")
    assert enter(crowd, rules, "owner", SEEN_S)
    assert refused(crowd, rules, "late", SEEN_S) == (429, "too_many_viewers")


def test_who_finds_no_place_uses_up_nobodys_rate() -> None:
    """Strangers at the door do not shut out who is in."""
    crowd, rules = Crowd(), Policy(max_concurrent_viewers=1, tunnel_rate=1)
    enter(crowd, rules, "a")
    for _ in range(100):
        assert refused(crowd, rules, "late") == (429, "too_many_viewers")
    for _ in range(round(BURST_S) - 1):
        assert enter(crowd, rules, "a")
    assert refused(crowd, rules, "a") == (429, "too_many_requests")


def test_a_removed_viewer_is_refused_and_cut() -> None:
    """Others are not; the owner who removed himself by mistake still gets in."""
    crowd = Crowd()
    bad, good = enter(crowd, OPEN_TO_ALL, "bad"), enter(crowd, OPEN_TO_ALL, "good")
    ends, other_ends = hold(crowd, bad), hold(crowd, good)
    crowd.remove(crowd.ids_of("bad"))
    assert ends == ["bad"]
    assert other_ends == []
    assert refused(crowd, OPEN_TO_ALL, "bad") == (403, "removed")
    assert enter(crowd, OPEN_TO_ALL, "good")
    assert enter(crowd, OPEN_TO_ALL, "bad", owner=True)


def test_each_viewer_asks_at_his_rate() -> None:
    """A burst for a page and its assets, then so many a second; another has his own."""
    crowd, rules = Crowd(), Policy(viewer_rate=2)
    for _ in range(round(2 * BURST_S)):
        enter(crowd, rules, "a")
    assert refused(crowd, rules, "a") == (429, "too_many_requests")
    assert enter(crowd, rules, "b")
    assert enter(crowd, rules, "a", 0.5)
    assert refused(crowd, rules, "a", 0.5) == (429, "too_many_requests")
    assert enter(crowd, rules, "a", 0.5, owner=True)


def test_all_viewers_together_ask_at_the_tunnels_rate() -> None:
    """However many they are; who is refused is not counted for it."""
    crowd, rules = Crowd(), Policy(tunnel_rate=1, max_concurrent_viewers=0)
    for number in range(round(BURST_S)):
        enter(crowd, rules, f"v{number}")
    for number in range(100):
        assert refused(crowd, rules, f"w{number}") == (429, "too_many_requests")
    assert enter(crowd, rules, "next", 1.0)


def test_a_rate_that_changes_counts_at_once() -> None:
    """Stricter, looser, gone."""
    crowd = Crowd()
    for _ in range(round(BURST_S)):
        enter(crowd, Policy(viewer_rate=1), "a")
    assert refused(crowd, Policy(viewer_rate=1), "a") == (429, "too_many_requests")
    assert enter(crowd, Policy(viewer_rate=100), "a")
    assert enter(crowd, Policy(), "a")


def test_streams_are_bounded_for_a_viewer_and_for_all() -> None:
    """One more is 429 at once; the end of one makes room."""
    crowd = Crowd()
    rules = Policy(max_streams_per_viewer=2, max_streams=3)
    viewer, other = enter(crowd, rules, "a"), enter(crowd, rules, "b")

    def cut() -> None:
        """End the stream."""

    crowd.begin(viewer, Facts(target=b"/"), cut)
    hold(crowd, viewer)
    assert refused(crowd, rules, "a") == (429, "too_many_streams")
    hold(crowd, other)
    assert refused(crowd, rules, "b") == (429, "too_many_streams")
    crowd.end(viewer, cut, 1.0)
    assert enter(crowd, rules, "b")
    assert crowd.open_streams == 2


def test_what_is_not_admitted_any_more_is_cut() -> None:
    """By what each exchange was admitted for; the others go on."""
    crowd = Crowd()
    viewer = enter(crowd, OPEN_TO_ALL, "a")
    page, admin = hold(crowd, viewer, b"/"), hold(crowd, viewer, b"/admin")
    assert crowd.recheck(lambda facts: facts.target != b"/admin") == 1
    assert (page, admin) == ([], ["a"])


def test_who_was_removed_before_a_restart_is_removed_after_it() -> None:
    """The crowd begins with the ids that the store kept."""
    crowd = Crowd.of(["bad"])
    assert refused(crowd, OPEN_TO_ALL, "bad") == (403, "removed")


def test_who_is_here_is_told_in_the_order_of_coming() -> None:
    """For the owner's list; who left a minute ago is not in it."""
    crowd = Crowd()
    for number, name in enumerate(("a", "b", "c")):
        enter(crowd, OPEN_TO_ALL, name, float(number))
    enter(crowd, OPEN_TO_ALL, "a", 30.0)
    assert [viewer.viewer_id for viewer in crowd.here(30.0)] == ["a", "b", "c"]
    assert [viewer.viewer_id for viewer in crowd.here(SEEN_S + 2)] == ["a"]

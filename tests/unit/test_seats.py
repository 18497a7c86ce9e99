"""Who gets a place, who must leave for him, and what stays free for tunnels."""

from __future__ import annotations

from attrs import define, field

from wormkey.seats import MAX_TUNNEL_SEATS, Seat, Seats


@define
class Room:
    """Seats, and who was told to leave, by name."""

    seats: Seats
    share: int = 4
    gone: list[str] = field(factory=list)

    def take(self, peer: str, name: str = "", *, exempt: bool = False) -> Seat:
        """Seat somebody; with a name he waits for a request."""
        seat = self.seats.take(peer, per_address=self.share, exempt=exempt)
        if name:
            self.wait(seat, name)
        return seat

    def wait(self, seat: Seat, name: str) -> None:
        """Let him wait for a request."""
        self.seats.wait(seat, lambda: self.gone.append(name))


def test_an_eighth_stays_free_for_tunnels() -> None:
    """Never more than 256 places, and none where there are few."""
    assert Seats(64).viewers_limit == 56
    assert Seats(7).viewers_limit == 7
    assert Seats(100_000).viewers_limit == 100_000 - MAX_TUNNEL_SEATS


def test_who_waits_longest_makes_room() -> None:
    """A busy one never has to; one that worked meanwhile waits anew."""
    room = Room(Seats(4))
    first, _, busy = room.take("", "first"), room.take("", "second"), room.take("")
    room.seats.work(first)
    room.wait(first, "first again")
    room.take("", "fourth")
    fifth = room.take("", "fifth")
    assert room.gone == ["second"]
    assert fifth.lasts
    room.take("")
    assert room.gone == ["second", "first again"]
    assert not first.lasts
    assert busy.lasts
    assert room.seats.viewers == 4


def test_beyond_the_share_one_is_on_trial_and_may_become_a_tunnel() -> None:
    """A tunnel takes none of the viewers' places, wherever it began."""
    room = Room(Seats(8))
    busy = [room.take("") for _ in range(7)]
    late = room.take("", "late")
    assert late.on_trial
    assert not late.lasts
    room.seats.work(late)
    room.seats.become_tunnel(late)
    assert late.lasts
    assert room.seats.viewers == 7
    room.seats.become_tunnel(busy[0])
    assert room.seats.viewers == 6
    assert not room.take("").on_trial


def test_where_all_is_taken_one_on_trial_goes_first() -> None:
    """So a client gets to speak; without one a waiting viewer goes, and nobody who is busy."""
    room = Room(Seats(8))
    for _ in range(7):
        room.take("")
    room.take("", "trial 1")
    room.take("", "trial 2")
    room.seats.make_room()
    assert room.gone == ["trial 1"]
    room = Room(Seats(3))
    room.take("", "waits")
    room.take("")
    room.seats.make_room()
    room.seats.make_room()
    assert room.gone == ["waits"]


def test_an_address_has_a_share_and_loses_its_own_oldest() -> None:
    """Beyond it no other address loses anything; an IPv6 /64 is one address."""
    room = Room(Seats(100))
    room.take("192.0.2.9", "another")
    for number in range(4):
        room.take(f"2001:db8::{number}", f"own {number}")
    assert not room.take("2001:db8::99").on_trial
    assert room.gone == ["own 0"]
    for _ in range(3):
        room.take("2001:db8::77")
    assert room.take("2001:db8::78").on_trial
    assert not room.take("2001:db8:1::1").on_trial
    assert room.gone == ["own 0", "own 1", "own 2", "own 3"]


def test_proxies_and_this_machine_have_no_share() -> None:
    """Whole crowds are behind them."""
    room = Room(Seats(100))
    for peer in ("127.0.0.1", "::1", "unix", ""):
        assert not any(room.take(peer).on_trial for _ in range(6))
    assert not any(room.take("192.0.2.1", exempt=True).on_trial for _ in range(6))


def test_who_leaves_gives_his_place_back_once() -> None:
    """Nothing is remembered of an address without connections."""
    room = Room(Seats(10), share=1)
    for _ in range(3):
        seat = room.take("192.0.2.1", "one")
        assert not seat.on_trial
        room.seats.leave(seat)
        room.seats.leave(seat)
    assert room.seats.viewers == 0
    assert not room.gone
    dismissed = room.take("192.0.2.1")
    room.seats.become_tunnel(dismissed)
    room.wait(dismissed, "a tunnel waits for nothing")
    room.seats.make_room()
    assert not room.gone

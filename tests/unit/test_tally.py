"""tally.py: one addition serves the daemon, the session and the record; a record has no secret."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from tests.support.stored import session
from wormkey.frames import RequestHead
from wormkey.metrics import VIEWER_LEFT, Metrics
from wormkey.tally import MAX_PATH_CHARS, Tally, path_of
from wormkey.usage import Meter

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
GET = RequestHead(b"GET", b"/a?token=secret", ((b"Authorization", b"Bearer secret"),))


def admitted(metrics: Metrics, meter: Meter) -> Tally:
    """Return the tally of a request that began at 10 s and may use a session."""
    tally = Tally(metrics, 10.0)
    tally.admit(session(1), meter, lambda: NOON)
    return tally


def test_bytes_show_at_once_everywhere() -> None:
    """While the exchange runs, and not at its end: the daemon's, the session's and its own."""
    metrics, meter = Metrics(), Meter()
    tally = admitted(metrics, meter)
    tally.received(3)
    tally.sent(5)
    tally.sent(7)
    for counted in (metrics, meter, tally):
        assert (counted.received_bytes, counted.sent_bytes) == (3, 12)
    assert (meter.requests, meter.last_seen_at, meter.dirty) == (1, NOON, True)


@pytest.mark.parametrize("move", [lambda tally: tally.received(1), lambda tally: tally.sent(1)])
def test_moved_bytes_make_the_meter_dirty(move: object) -> None:
    """What is written behind must know that there is something to write."""
    meter = Meter()
    tally = admitted(Metrics(), meter)
    meter.dirty = False
    assert callable(move)
    move(tally)
    assert meter.dirty


def test_being_seen_is_the_sessions_time() -> None:
    """A long exchange keeps its session's last use up to date; a request of none keeps nothing."""
    meter = Meter()
    tally = admitted(Metrics(), meter)
    meter.last_seen_at = None
    tally.seen()
    assert meter.last_seen_at == NOON
    Tally(Metrics(), 0.0).seen()


def test_an_origins_answer_is_counted_with_its_first_byte() -> None:
    """Class of the status, and the time since the request's head."""
    metrics = Metrics()
    tally = admitted(metrics, Meter())
    tally.answered(204, 10.25)
    tally.end()
    assert metrics.requests == {"2xx": 1}
    assert (metrics.time_to_first_byte.count, metrics.time_to_first_byte.sum_s) == (1, 0.25)
    assert metrics.refusals == {}
    assert tally.record("192.0.2.1", GET, 12.5) == {
        "viewer": "192.0.2.1",
        "method": "GET",
        "path": "/a",
        "status": 204,
        "received_bytes": 0,
        "sent_bytes": 0,
        "duration_s": 2.5,
        "ttfb_s": 0.25,
        "session": "id-1",
        "slug": session(1).slug,
        "request": tally.request_id,
        "upgraded": False,
        "error": None,
    }


def test_an_answer_of_the_gateways_own_is_counted_by_its_reason() -> None:
    """It has no time to first byte: that is the origins' figure."""
    metrics = Metrics()
    tally = Tally(metrics, 0.0)
    tally.answered_here(404, "unknown_session")
    tally.end()
    assert metrics.requests == {"4xx": 1}
    assert metrics.refusals == {"unknown_session": 1}
    assert metrics.time_to_first_byte.count == 0
    record = tally.record("192.0.2.1", None, 0.0)
    assert (record["error"], record["session"], record["ttfb_s"]) == ("unknown_session", None, None)
    assert (record["method"], record["path"]) == ("", "")


def test_an_answer_without_an_error_is_no_refusal() -> None:
    """A redirect or /health counts as a request alone."""
    metrics = Metrics()
    Tally(metrics, 0.0).answered_here(308)
    assert (metrics.requests, metrics.refusals) == ({"3xx": 1}, {})


def test_a_refused_tunnel_is_no_viewers_request() -> None:
    """It has a figure of its own, and nothing else moves."""
    metrics = Metrics()
    tally = Tally(metrics, 0.0, of_tunnel=True)
    tally.answered_here(401, "unauthorized")
    tally.cut(VIEWER_LEFT)
    tally.end()
    assert metrics.tunnel_refusals == {"unauthorized": 1}
    assert metrics.requests == metrics.refusals == metrics.cut_answers == {}


def test_who_leaves_before_an_answer_is_counted_as_none() -> None:
    """No answer is no cut answer."""
    metrics = Metrics()
    tally = admitted(metrics, Meter())
    tally.cut(VIEWER_LEFT)
    tally.end()
    assert (metrics.requests, metrics.cut_answers) == ({"none": 1}, {})
    assert tally.error == VIEWER_LEFT


def test_an_answer_is_cut_once() -> None:
    """The first reason is the cause; what follows from it is not counted again."""
    metrics = Metrics()
    tally = admitted(metrics, Meter())
    tally.answered(200, 11.0)
    tally.cut("origin_failed")
    tally.cut(VIEWER_LEFT)
    tally.end()
    assert (metrics.requests, metrics.cut_answers) == ({"2xx": 1}, {"origin_failed": 1})
    assert tally.error == "origin_failed"


def test_a_request_has_one_id_however_often_it_is_told() -> None:
    """Page, record and debug log agree; two requests differ."""
    one, other = Tally(Metrics(), 0.0), Tally(Metrics(), 0.0)
    assert one.request_id == one.request_id != other.request_id
    assert re.fullmatch(r"[0-9a-f]{16}", one.request_id)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b", "/a/b"),
        (b"/a?b=c", "/a"),
        (b"/?/x?y", "/"),
        (b"*", "*"),
        (b"http://user:secret@host:80/a?b", "/a"),
        (b"HTTPS://host?b", ""),
        (b"/http://host/x", "/http://host/x"),
        (b"/%3Ftoken", "/%3Ftoken"),
        (b"/" + b"x" * MAX_PATH_CHARS, "/" + "x" * (MAX_PATH_CHARS - 1)),
    ],
)
def test_a_path_is_a_target_without_authority_and_query(target: bytes, path: str) -> None:
    """Secrets travel in query strings; a record is not the place for them."""
    assert path_of(target) == path

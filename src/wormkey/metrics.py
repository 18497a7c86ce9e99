"""What the daemon counts, and ONE table that names, describes and bounds each figure.

Owns plain counters and histograms with fixed buckets, made for one event loop: no locks, an
addition each. FIGURES is what the exposition, the page for operators and the dashboard are made
from or held to. What can be read when somebody asks (live sessions, open streams) is not counted
here. No slug, address or name of a person may become a label: every label's values are few.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import Final, Literal, TypeAlias

from attrs import define, field, frozen

from wormkey.codes import ERRORS

Kind: TypeAlias = Literal["counter", "gauge", "histogram"]

# Seconds. An origin answers in a millisecond or in a minute; a round trip takes from a tenth of a
# millisecond on one machine to half a second around the world.
ANSWER_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)
ROUND_TRIP_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
STORE_BUCKETS: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)

VIEWER_LEFT: Final = "viewer_left"
_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")


def status_class(status: int) -> str:
    """Return ``2xx`` for 200 to 299 and so on; ``none`` for 0, no answer.

    A status that no class has counts as 5xx (RFC 9110 §15).
    """
    return _CLASSES[min(status // 100, 5)]


@define(eq=False)
class Histogram:
    """How often a time was at most each of ``bounds``, in seconds."""

    bounds: tuple[float, ...]
    counts: list[int] = field(init=False)  # in each bucket alone; the last one has no bound
    sum_s: float = field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        """Nothing is counted yet."""
        self.counts = [0] * (len(self.bounds) + 1)

    def observe(self, seconds: float) -> None:
        """Count one time."""
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.sum_s += seconds

    @property
    def count(self) -> int:
        """How many times were counted."""
        return sum(self.counts)

    def cumulative(self) -> list[tuple[str, int]]:
        """Return each bound as text, ``+Inf`` last, and how many times were at most that."""
        names = [*map(repr, self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


@define(eq=False)
class Metrics:
    """The figures of one daemon that are counted as things happen; FIGURES says what each is.

    A Counter's keys and those of ``store`` are label values: words of the code, never of a peer.
    """

    requests: Counter[str] = field(factory=Counter)
    refusals: Counter[str] = field(factory=Counter)
    cut_answers: Counter[str] = field(factory=Counter)
    received_bytes: int = 0
    sent_bytes: int = 0
    time_to_first_byte: Histogram = field(factory=lambda: Histogram(ANSWER_BUCKETS))
    tunnels_opened: Counter[str] = field(factory=Counter)
    reconnects: int = 0
    dismissed: int = 0
    tunnel_refusals: Counter[str] = field(factory=Counter)
    round_trip: Histogram = field(factory=lambda: Histogram(ROUND_TRIP_BUCKETS))
    control_requests: Counter[str] = field(factory=Counter)
    failed_authentications: Counter[str] = field(factory=Counter)
    loop_lag: Histogram = field(factory=lambda: Histogram(LAG_BUCKETS))
    store: dict[str, Histogram] = field(factory=dict)

    def observe_store(self, operation: str, seconds: float) -> None:
        """Count one operation of the store; ``operation`` is the store's own word for it."""
        histogram = self.store.get(operation)
        if histogram is None:
            histogram = self.store[operation] = Histogram(STORE_BUCKETS)
        histogram.observe(seconds)


@frozen(kw_only=True)
class Figure:
    """One family of the exposition.

    ``source`` is the attribute of Metrics that counts it; without one it is read when somebody
    asks (exposition.py). ``values`` of the label are shown from the start, with 0, so that a rate
    sees the first event; a label may get further ones.
    """

    name: str
    kind: Kind
    help: str
    label: str = ""
    values: tuple[str, ...] = ()
    source: str = ""


_OWN_ANSWERS: Final = tuple(ERRORS)

FIGURES: Final = (
    Figure(
        name="wormkey_build_info",
        kind="gauge",
        help="Always 1; the label tells the daemon's version",
        label="version",
    ),
    Figure(name="wormkey_sessions", kind="gauge", help="Live sessions"),
    Figure(
        name="wormkey_tunnels",
        kind="gauge",
        help="Open tunnels, by protocol version",
        label="version",
        values=("0", "1"),
    ),
    Figure(name="wormkey_streams", kind="gauge", help="Exchanges under way in all tunnels"),
    Figure(
        name="wormkey_held_requests",
        kind="gauge",
        help="Requests that wait for a client that is away",
    ),
    Figure(
        name="wormkey_requests_total",
        kind="counter",
        help="Viewers' requests by the class of the answer's status, the gateway's own answers "
        "included; none where the viewer left before an answer",
        label="status",
        values=_CLASSES,
        source="requests",
    ),
    Figure(
        name="wormkey_refusals_total",
        kind="counter",
        help="Viewers' requests that the gateway answered with an error itself, by Wormkey-Error",
        label="reason",
        values=_OWN_ANSWERS,
        source="refusals",
    ),
    Figure(
        name="wormkey_cut_answers_total",
        kind="counter",
        help="Answers that were cut after their head, by what cut them",
        label="reason",
        values=(VIEWER_LEFT, "origin_failed", "origin_timeout", "too_many_streams", "tunnel_lost"),
        source="cut_answers",
    ),
    Figure(
        name="wormkey_received_bytes_total",
        kind="counter",
        help="Bytes of content that came from viewers through tunnels, WebSockets included",
        source="received_bytes",
    ),
    Figure(
        name="wormkey_sent_bytes_total",
        kind="counter",
        help="Bytes of content that viewers took through tunnels, WebSockets included",
        source="sent_bytes",
    ),
    Figure(
        name="wormkey_time_to_first_byte_seconds",
        kind="histogram",
        help="From a request's checked head to the head of the app's answer, the wait for a "
        "client that is away included",
        source="time_to_first_byte",
    ),
    Figure(
        name="wormkey_tunnels_opened_total",
        kind="counter",
        help="Tunnels opened, by protocol version",
        label="version",
        values=("0", "1"),
        source="tunnels_opened",
    ),
    Figure(
        name="wormkey_reconnects_total",
        kind="counter",
        help="Tunnels opened for a session that had one before in this process",
        source="reconnects",
    ),
    Figure(
        name="wormkey_dismissed_connections_total",
        kind="counter",
        help="Connections that waited for a request and had to make room for others",
        source="dismissed",
    ),
    Figure(
        name="wormkey_tunnel_refusals_total",
        kind="counter",
        help="Requests at /tunnel that were refused, by Wormkey-Error",
        label="reason",
        values=(
            "unauthorized",
            "session_expired",
            "session_closed",
            "draining",
            "too_many_requests",
            "bad_request",
        ),
        source="tunnel_refusals",
    ),
    Figure(
        name="wormkey_round_trip_seconds",
        kind="histogram",
        help="Round trips of tunnels, measured by pings",
        source="round_trip",
    ),
    Figure(
        name="wormkey_control_requests_total",
        kind="counter",
        help="Requests to the control plane by the class of the answer's status",
        label="status",
        values=_CLASSES[2:],
        source="control_requests",
    ),
    Figure(
        name="wormkey_failed_authentications_total",
        kind="counter",
        help="Tokens and passwords that were tried and are wrong, by what they were tried for",
        label="what",
        values=("access", "owner", "session", "tunnel", "viewer"),
        source="failed_authentications",
    ),
    Figure(
        name="wormkey_throttled_total",
        kind="counter",
        help="Requests refused because of a rate, by the rate (limits.md)",
        label="rate",
        values=("creations", "token_creations", "failures", "misses"),
    ),
    Figure(
        name="wormkey_event_loop_lag_seconds",
        kind="histogram",
        help="How late a task woke that sleeps for a second: what every exchange waits, too",
        source="loop_lag",
    ),
    Figure(
        name="wormkey_store_operation_seconds",
        kind="histogram",
        help="Operations of the store, the wait for its thread included",
        label="operation",
        source="store",
    ),
)

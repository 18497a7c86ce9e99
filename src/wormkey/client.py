"""The client's side of a session: keeps one tunnel open to the gateway, whatever happens to it.

Dials, authenticates, serves streams from the local app, and dials again with jittered back-off
when the tunnel is lost. Only a refusal for good ends it: a rejected token, a session that is
over, another client that took over. Knows no control plane and no terminal.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

import trio
from attrs import define, field, frozen

from wormkey import __version__
from wormkey.dialer import Dialer, secure
from wormkey.errors import ConfigError, ErrorCode, StreamError, TunnelError
from wormkey.frames import RequestHead, ResponseHead
from wormkey.handshake import Handshake, dial
from wormkey.http1 import Http1Limits
from wormkey.inbox import MuxLimits
from wormkey.origin import Origin
from wormkey.scopes import alongside
from wormkey.target import Target
from wormkey.transport import set_tcp_options
from wormkey.tunnel import Tunnel, TunnelTimings
from wormkey.wake import WAKE_CHECK_S, Wake

if TYPE_CHECKING:
    from wormkey.mux import MuxStatistics
    from wormkey.tunnelstream import TunnelStream

FIRST_RETRY_S: Final = 0.25  # an established tunnel was lost: most often the server restarts
MAX_RETRY_S: Final = 10.0  # users want back within seconds, however long the server was away
HEALTHY_AFTER_S: Final = 20.0
FLAPPING_TRIES: Final = 2  # at most so many doublings count when a younger tunnel is lost: 1 s


@frozen(kw_only=True)
class ClientSettings:
    """How a client serves its app; seconds and bytes as their names say."""

    host_header: bytes = b"rewrite"
    verify_tls: bool = True
    dial_timeout_s: float = 10.0
    drain_timeout_s: float = 5.0
    limits: MuxLimits = field(factory=lambda: MuxLimits(agent=f"wormkey/{__version__}".encode()))
    timings: TunnelTimings = field(factory=TunnelTimings)
    http: Http1Limits = field(factory=Http1Limits)


@frozen
class Connected:
    """The tunnel is open and speaks this protocol version."""

    version: int


@frozen
class Disconnected:
    """The tunnel was lost; the client dials again in ``retry_in_s``."""

    reason: str
    retry_in_s: float


@frozen
class Exchange:
    """One request was answered (``status`` 0: it was not)."""

    method: bytes
    target: bytes
    status: int
    duration_s: float


ClientEvent: TypeAlias = Connected | Disconnected | Exchange


@define
class Backoff:
    """Full jitter, doubling up to MAX_RETRY_S; starts again after a healthy tunnel."""

    random: Callable[[], float] = random.random
    _tries: int = 0

    def next_s(self, healthy_s: float) -> float:
        """Return how long to wait; ``healthy_s`` is how long the last tunnel held, 0 for none."""
        if healthy_s >= HEALTHY_AFTER_S:
            self._tries = 0
        elif healthy_s:
            self._tries = min(self._tries, FLAPPING_TRIES)
        ceiling = min(MAX_RETRY_S, FIRST_RETRY_S * 2.0**self._tries)
        self._tries = min(self._tries + 1, 16)
        return self.random() * ceiling


@frozen
class Edge:
    """Where tunnels are opened: host, port, whether by TLS, and the path."""

    host: str
    port: int
    tls: bool
    resource: str
    authority: str

    @classmethod
    def parse(cls, url: str) -> Edge:
        """Read an edge URL, ``wss://host[:port][/path]``; /tunnel is added to it.

        Raises:
            ConfigError: anything else.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            port = 0
        if parts.scheme not in ("ws", "wss") or not parts.hostname or port == 0:
            raise ConfigError(f"edge {url!r} is no ws:// or wss:// URL")
        tls = parts.scheme == "wss"
        resource = f"{parts.path.rstrip('/')}/tunnel"
        return cls(parts.hostname, port or (443 if tls else 80), tls, resource, parts.netloc)


@define(eq=False)
class Client:
    """Keeps a session's tunnel open and serves it from ``target`` until drained or refused."""

    settings: ClientSettings
    edge_url: str
    token: str = field(repr=False)
    target: Target
    on_event: Callable[[ClientEvent], None] = lambda _: None
    paused: bool = False
    wake: Wake = field(factory=Wake)
    _edge: Edge = field(init=False)
    _origin: Origin = field(init=False)
    _tunnel: Tunnel | None = field(default=None, init=False)
    _backoff: Backoff = field(factory=Backoff, init=False)
    _retry_now: trio.Event = field(factory=trio.Event, init=False)
    _connected_at: float | None = field(default=None, init=False)
    _draining: bool = field(default=False, init=False)
    _dialing: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _attempt: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _woke: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """The edge is parsed here, so that a bad URL is told before anything starts."""
        self._edge = Edge.parse(self.edge_url)
        dialer = Dialer(self.target, self.settings.verify_tls)
        self._origin = Origin.at(dialer, self.settings.host_header, self.settings.http)

    async def run(self) -> None:
        """Keep the tunnel open; return after drain().

        Raises:
            TunnelError: refused for good; ``status`` 401 or 403 the token, 410 the session is
                over, 409 another client took over.

        Cancellation: the tunnel is cut; the session lives on at the server.
        """
        await alongside(self._keep_open, self._watch_sleep)

    async def _keep_open(self) -> None:
        try:
            while not self._draining:
                self._connected_at = None
                try:
                    with trio.CancelScope() as self._attempt:
                        await self._connect_once()
                    reason = "the tunnel was closed"
                except TunnelError as error:
                    self._raise_if_final(error)
                    reason, after_s = str(error), error.retry_after_s or 0.0
                else:
                    after_s = 0.0
                if self._draining:
                    return
                if self._woke:
                    self._woke = False
                    self._tunnel = None
                    reason = "this machine has slept"
                    self._backoff = Backoff(self._backoff.random)
                    self.on_event(Disconnected(reason, 0.0))
                    continue
                await self._wait_retry(reason, after_s)
        finally:
            await self._origin.pool.aclose()

    async def _watch_sleep(self) -> None:
        """Dial anew at once after a sleep: the gateway has given this tunnel up, or will."""
        while True:
            await trio.sleep(WAKE_CHECK_S)
            if self.wake.slept_s() and not self._draining:
                self._woke = True
                self._attempt.cancel(reason="this machine has slept")
                self._retry_now.set()

    async def _wait_retry(self, reason: str, least_s: float) -> None:
        healthy_s = 0.0
        if self._connected_at is not None:
            healthy_s = trio.current_time() - self._connected_at
        # The jitter comes on top of what a gateway asks for: all whom it asked would be as one.
        delay_s = min(least_s, MAX_RETRY_S) + self._backoff.next_s(healthy_s)
        self.on_event(Disconnected(reason, delay_s))
        self._retry_now = trio.Event()
        with trio.move_on_after(delay_s):
            await self._retry_now.wait()

    def _raise_if_final(self, error: TunnelError) -> None:
        """Raise what no further try can change."""
        goodbye = self._tunnel.goodbye if self._tunnel else None
        self._tunnel = None
        if goodbye is not None and goodbye.code is ErrorCode.SESSION_CLOSED:
            text = goodbye.detail.decode("utf-8", "replace") or "the session is over"
            raise TunnelError(text, retryable=False, status=410) from error
        if goodbye is not None and goodbye.code is ErrorCode.REPLACED:
            text = "another client of this session took over"
            raise TunnelError(text, retryable=False, status=409) from error
        if error.status is not None and not error.retryable:
            raise error

    async def _connect_once(self) -> None:
        stream = await self._open_stream()
        handshake = Handshake(
            host=self._edge.authority,
            resource=self._edge.resource,
            token=self.token,
            limits=self.settings.limits,
            timings=self.settings.timings,
            handler=self._serve_stream,
            paused=self.paused,
        )
        await dial(stream, handshake, self._serve_tunnel)

    async def _open_stream(self) -> trio.abc.Stream:
        edge = self._edge
        try:
            with trio.fail_after(self.settings.dial_timeout_s) as self._dialing:
                stream = await trio.open_tcp_stream(edge.host, edge.port)
                set_tcp_options(stream)
                if not edge.tls:
                    return stream
                return await secure(stream, ssl.create_default_context(), edge.host)
        except trio.TooSlowError:
            raise TunnelError(f"{edge.authority} did not answer in time") from None
        except (OSError, trio.BrokenResourceError) as error:
            reason = _reason_of(error)
            raise TunnelError(f"{edge.authority} cannot be reached: {reason}") from error

    async def _serve_tunnel(self, tunnel: Tunnel) -> None:
        if self._draining:  # it began during the handshake, and found no tunnel to wait for
            return
        self._tunnel = tunnel
        self._connected_at = trio.current_time()
        self.on_event(Connected(tunnel.version))
        await trio.sleep_forever()

    async def _serve_stream(self, stream: TunnelStream, head: RequestHead) -> None:
        started = trio.current_time()
        status = 0
        try:
            if head.upgrade and not stream.version:
                status = 501  # v0 has no words for a 101: an app that said it would be left alone
                text = "This gateway is too old for WebSockets; update it."
                await self._answer_v0(stream, status, text)
            else:
                status = (await self._origin.serve_stream(stream, head)).status
        except StreamError as error:
            if stream.version or stream.answered or error.code not in _ORIGIN_CODES:
                raise
            status = 502
            await self._answer_v0(stream, status, error.detail)
        finally:
            duration_s = trio.current_time() - started
            self.on_event(Exchange(head.method, head.target, status, duration_s))

    async def _answer_v0(self, stream: TunnelStream, status: int, detail: str) -> None:
        """Tell a v0 gateway in HTTP what a v1 gateway learns from the RESET's code."""
        text = detail.encode()
        head = ResponseHead(status, ((b"content-type", b"text/plain; charset=utf-8"),))
        stream.send_head(head)
        await stream.send(text, end_stream=True)
        await stream.wait_sent()

    # ── what its owner calls ──────────────────────────────────────────────────────────────────

    def pause(self) -> None:
        """Have the gateway answer 503 to new requests; those under way finish."""
        self.paused = True
        if self._tunnel is not None:
            self._tunnel.pause(paused=True)

    def resume(self) -> None:
        """Take requests again."""
        self.paused = False
        if self._tunnel is not None:
            self._tunnel.pause(paused=False)

    def reconnect_now(self) -> None:
        """Dial at once if the client is waiting to."""
        self._retry_now.set()

    async def drain(self) -> None:
        """Let streams end, ``drain_timeout_s`` at most, close the tunnel; run() then returns.

        Cancellation: the tunnel is closed all the same.
        """
        self._draining = True
        self._retry_now.set()
        tunnel = self._tunnel
        if tunnel is None:
            self._dialing.cancel(reason="the client is closing")
            return
        tunnel.go_away("the client is closing")
        try:
            with trio.move_on_after(self.settings.drain_timeout_s):
                await tunnel.wait_idle()
        finally:
            tunnel.close(ErrorCode.NO_ERROR, "the client has closed")

    def statistics(self) -> MuxStatistics | None:
        """Return a snapshot of the tunnel, None while there is none."""
        return self._tunnel.mux.statistics() if self._tunnel else None

    @property
    def rtt_s(self) -> float | None:
        """The last measured round trip to the gateway."""
        return self._tunnel.rtt_s if self._tunnel else None


def _reason_of(error: Exception) -> str:
    """Say in words why no connection came about; trio's own text for failed TLS is empty."""
    cause = error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason}"
    return str(error) or "the connection broke"


_ORIGIN_CODES: Final = frozenset(
    {ErrorCode.ORIGIN_FAILED, ErrorCode.ORIGIN_TIMEOUT, ErrorCode.ORIGIN_UNREACHABLE}
)

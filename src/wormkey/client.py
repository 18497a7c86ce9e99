"""The client's side of a session: keeps one tunnel open to the gateway, whatever happens to it.

Dials, authenticates, serves streams from the local app, and dials again with jittered back-off
when the tunnel is lost. Only a refusal for good ends it: a rejected token, a session that is
over, another client that took over. Knows no control plane and no terminal.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from functools import partial
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
from wormkey.keepalive import Pulse, TunnelTimings
from wormkey.links import MAX_LINKS, MAX_RETRY_S, Backoff, Link
from wormkey.origin import Origin
from wormkey.scopes import alongside, together
from wormkey.target import Target
from wormkey.transport import set_tcp_options
from wormkey.wake import WAKE_CHECK_S, Wake

if TYPE_CHECKING:
    from wormkey.inbox import MuxStatistics
    from wormkey.tunnel import Tunnel
    from wormkey.tunnelstream import TunnelStream

logger = logging.getLogger(__name__)


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
    _pulse: Pulse = field(factory=Pulse, init=False)
    _links: list[Link] = field(factory=list, init=False)  # those that are not over, oldest first
    _backoff: Backoff = field(factory=Backoff, init=False)
    _retry_now: trio.Event = field(factory=trio.Event, init=False)
    _draining: bool = field(default=False, init=False)
    _dialing: trio.CancelScope = field(factory=trio.CancelScope, init=False)
    _woke: bool = field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        """The edge is parsed here, so that a bad URL is told before anything starts."""
        self._edge = Edge.parse(self.edge_url)
        dialer = Dialer(self.target, self.settings.verify_tls)
        self._origin = Origin.at(dialer, self.settings.host_header, self.settings.http)

    async def run(self) -> None:
        """Keep a tunnel open; return after drain().

        A gateway that says it goes (it restarts) is dialled again at once, while the streams of
        the tunnel that goes end in their own time: make before break.

        Raises:
            TunnelError: refused for good; ``status`` 401 or 403 the token, 410 the session is
                over, 409 another client took over.

        Cancellation: the tunnels are cut; the session lives on at the server.
        """
        await alongside(self._run, partial(together, self._watch, self._pulse.run))

    async def _run(self) -> None:
        error: Exception | None = None
        try:
            async with trio.open_nursery() as tunnels:
                error = await self._keep_open(tunnels)
                if error is not None:
                    tunnels.cancel_scope.cancel(reason="the client was refused for good")
        finally:
            await self._origin.pool.aclose()
        if error is not None:
            raise error

    async def _keep_open(self, tunnels: trio.Nursery) -> Exception | None:
        """Open one tunnel after the other; return what ends the client, None for its drain."""
        while not self._draining:
            link = Link()
            tunnels.start_soon(self._run_link, link, name="tunnel")
            await link.over.wait()
            if (final := link.final_error()) is not None:
                return final
            if self._draining:
                break
            await self._wait_retry(link)
        return None

    async def _run_link(self, link: Link) -> None:
        """Dial and serve one tunnel to its end; never raises but for cancellation."""
        self._links.append(link)
        while len(self._links) > MAX_LINKS:  # a gateway that keeps on going away
            self._links.pop(0).scope.cancel(reason="newer tunnels are open")
        try:
            with link.scope:
                await self._connect_once(link)
        except Exception as error:
            link.error = error
            if link.over.is_set() and not isinstance(error, TunnelError):
                logger.exception("a tunnel that was going away failed")
        finally:
            if link in self._links:
                self._links.remove(link)
            link.over.set()

    async def _watch(self) -> None:
        """Each second: let old idle connections to the app go; after a sleep, dial anew at once.

        The gateway has given the tunnels of before the sleep up, or will.
        """
        while True:
            await trio.sleep(WAKE_CHECK_S)
            await self._origin.pool.drop_overdue()
            if self.wake.slept_s() and not self._draining:
                self._woke = True
                for link in list(self._links):
                    link.scope.cancel(reason="this machine has slept")
                self._retry_now.set()

    async def _wait_retry(self, link: Link) -> None:
        if self._woke:
            self._woke = False
            self._backoff = Backoff(self._backoff.random)
            self.on_event(Disconnected("this machine has slept", 0.0))
            return
        error = link.error
        least_s = (error.retry_after_s or 0.0) if isinstance(error, TunnelError) else 0.0
        healthy_s = 0.0
        if link.connected_at is not None:
            healthy_s = trio.current_time() - link.connected_at
        # The jitter comes on top of what a gateway asks for: all whom it asked would be as one.
        delay_s = min(least_s, MAX_RETRY_S) + self._backoff.next_s(healthy_s)
        self.on_event(Disconnected(link.reason, delay_s))
        self._retry_now = trio.Event()
        with trio.move_on_after(delay_s):
            await self._retry_now.wait()

    async def _connect_once(self, link: Link) -> None:
        stream = await self._open_stream()
        handshake = Handshake(
            host=self._edge.authority,
            resource=self._edge.resource,
            token=self.token,
            limits=self.settings.limits,
            timings=self.settings.timings,
            pulse=self._pulse,
            handler=self._serve_stream,
            paused=self.paused,
        )
        await dial(stream, handshake, partial(self._serve_tunnel, link))

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

    async def _serve_tunnel(self, link: Link, tunnel: Tunnel) -> None:
        if self._draining:  # it began during the handshake, and found no tunnel to wait for
            return
        link.open(tunnel)
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
        for tunnel in self._tunnels():
            tunnel.pause(paused=True)

    def resume(self) -> None:
        """Take requests again."""
        self.paused = False
        for tunnel in self._tunnels():
            tunnel.pause(paused=False)

    def reconnect_now(self) -> None:
        """Dial at once if the client is waiting to."""
        self._retry_now.set()

    async def drain(self) -> None:
        """Let streams end, ``drain_timeout_s`` at most, close the tunnel; run() then returns.

        Cancellation: the tunnel is closed all the same.
        """
        self._draining = True
        self._retry_now.set()
        self._dialing.cancel(reason="the client is closing")
        tunnels = self._tunnels()
        for tunnel in tunnels:
            tunnel.go_away("the client is closing")
        try:
            with trio.move_on_after(self.settings.drain_timeout_s):
                for tunnel in tunnels:
                    await tunnel.wait_idle()
        finally:
            for tunnel in tunnels:
                tunnel.close(ErrorCode.NO_ERROR, "the client has closed")

    def _tunnels(self) -> list[Tunnel]:
        """Return the open tunnels: the current one, and those that are going away."""
        return [link.tunnel for link in self._links if link.tunnel is not None]

    def statistics(self) -> MuxStatistics | None:
        """Return a snapshot of the newest tunnel, None while there is none."""
        tunnels = self._tunnels()
        return tunnels[-1].mux.statistics() if tunnels else None

    @property
    def rtt_s(self) -> float | None:
        """The last measured round trip to the gateway."""
        tunnels = self._tunnels()
        return tunnels[-1].rtt_s if tunnels else None


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

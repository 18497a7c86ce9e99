"""The gateway, :3002: viewers' connections, the way to their tunnels, and the tunnels' admission.

For each request: read and check the head (http1_viewer), resolve where it goes (routing, the only
place that reads Host, path and cookie), ask who may enter (entrance.py), find the tunnel, run the
exchange as a child of that tunnel (exchange.py). What fails before an answer's head becomes an
answer of the gateway's own (answers.py); what fails after it cuts the connection. A handler's
error ends its connection and nothing else. Each request but a tunnel's has one Tally.
"""

from __future__ import annotations

import logging
import secrets
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

import trio
from attrs import Factory, define, evolve, field

from wormkey import barfiles, fields, forwarded, routing
from wormkey.admission import Takeover, admit_tunnel
from wormkey.answers import Answers, Visit
from wormkey.boundary import GOING_AWAY, POLICY_VIOLATION, SERVICE_RESTART
from wormkey.budget import CONNECTION_BYTES
from wormkey.desk import Desk
from wormkey.entrance import Admitted, Caller, admit_viewer, http1_limits, overloaded
from wormkey.errors import AdmissionError, ErrorCode, StreamError, TunnelError
from wormkey.exchange import Exchange, refusal_of
from wormkey.fields import ViewerFacts
from wormkey.holds import RETRY_AFTER_S, Holds, PassedOnError
from wormkey.http1_viewer import ViewerConnection
from wormkey.idlewatch import IdleWatch
from wormkey.leavers import Leavers
from wormkey.metrics import VIEWER_LEFT
from wormkey.node import Node
from wormkey.overlay import NONCE_BYTES, Bar, prepare, wants_bar
from wormkey.recent import derive
from wormkey.registry import gone
from wormkey.relief import Relief
from wormkey.seats import DRAIN_GRACE_S, TRIAL_S, Seat, Seats
from wormkey.session import SessionState
from wormkey.tally import Tally, path_of
from wormkey.transport import peer_address
from wormkey.watch import MAX_SHOWN_PATH, Finished

if TYPE_CHECKING:
    from wormkey.frames import RequestHead
    from wormkey.http1 import ViewerRequest
    from wormkey.routes.local import Entry
    from wormkey.session import Session

logger = logging.getLogger(__name__)
access = logging.getLogger("wormkey.access")

RETRIED: Final = frozenset({b"GET", b"HEAD"})  # sent again when a tunnel dies before an answer
MAX_TRIES: Final = 3
SPARED: Final = frozenset({"health", "tunnel"})  # answered also where viewers have no room

_NONE: Final = (b"",)  # the values of a field that is not there
_LEFT = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)


@define(eq=False)
class Gateway:
    """Serves viewers and tunnels; run() must run beside the connections."""

    node: Node
    _answers: Answers = field(
        init=False, default=Factory(lambda self: Answers(self.node), takes_self=True)
    )
    seats: Seats = field(
        default=Factory(lambda self: Seats(self.node.settings.max_connections), takes_self=True)
    )
    connections: int = 0  # viewers' and tunnels'
    _leavers: Leavers = field(factory=Leavers)
    _idle_watch: IdleWatch = field(factory=IdleWatch)
    _desk: Desk = field(
        init=False,
        default=Factory(
            lambda self: Desk(self.node, self._answers, self._leavers), takes_self=True
        ),
    )
    _idle: set[ViewerConnection] = field(factory=set)
    _closing: bool = False  # the drain's grace is over: connections end after their request
    _holds: Holds = field(
        init=False, default=Factory(lambda self: Holds(self.node), takes_self=True)
    )
    _relief: Relief = field(
        init=False,
        default=Factory(lambda self: Relief(self.node, self._viewers_bytes), takes_self=True),
    )

    async def run(self) -> None:
        """Watch viewers who leave, what stands still, tunnels, memory. Cancellation: stops."""
        async with trio.open_nursery() as watching:
            watching.start_soon(self._leavers.run)
            watching.start_soon(self._idle_watch.run)
            watching.start_soon(self._relief.run)
            watching.start_soon(self.node.pulse.run)

    def _viewers_bytes(self) -> int:
        viewers = self.connections - len(self.node.tunnels)  # a tunnel counts by itself
        return viewers * CONNECTION_BYTES + self._holds.held_bytes

    async def drain(self) -> None:
        """Let nothing new begin: idle connections end, tunnels are told to go when they are done.

        Requests that wait for a client stop waiting: no tunnel is admitted any more.

        Cancellation: waits only.
        """
        self._holds.end()
        for entry in self.node.routes.entries():
            entry.ring()  # event streams end
        await trio.sleep(DRAIN_GRACE_S)
        self._closing = True
        for viewer in list(self._idle):
            if viewer.idle:  # who is in the middle of a head gets an answer to it
                await viewer.aclose()
        for tunnel in list(self.node.tunnels):
            tunnel.go_away("the server is shutting down")
        for tunnel in list(self.node.tunnels):
            await tunnel.wait_idle()
            tunnel.close(ErrorCode.NO_ERROR, "the server is shutting down")

    async def serve_connection(self, stream: trio.SocketStream) -> None:
        """Serve one connection to its end; never raises but for cancellation.

        Cancellation: the connection is cut.
        """
        viewer = ViewerConnection(stream, http1_limits(self.node.settings))
        self.connections += 1
        seat = Seat()
        try:
            caller = Caller.of(self.node, peer_address(stream))
            share = self.node.settings.max_connections_per_address
            seat = self.seats.take(caller.peer, per_address=share, exempt=caller.trusted)
            following: bool | Takeover = True
            while following is True:
                following = await self._serve_request(viewer, caller, seat)
            if following is not False:
                await following()
        except _LEFT:
            logger.debug("viewer left")
        except Exception:
            logger.exception("connection failed")
        finally:
            self.connections -= 1
            self.seats.leave(seat)
            await viewer.aclose()

    async def _serve_request(
        self, viewer: ViewerConnection, caller: Caller, seat: Seat
    ) -> bool | Takeover:
        """Answer one request; return whether another may follow, or what does in its place."""
        self._idle.add(viewer)
        request = None
        until = trio.current_time() + TRIAL_S if seat.on_trial else inf
        self.seats.wait(seat, viewer.stop_waiting)
        try:
            request = await viewer.receive_request(until)
        except AdmissionError as error:
            tally = Tally(self.node.metrics, trio.current_time())
            await self._answers.error(Visit(viewer, None, caller, tally), error)
            self._end(tally, None, caller)
            await viewer.lingering_close()
            return False
        finally:
            self._idle.discard(viewer)
            self.seats.work(seat)
            self.node.metrics.dismissed += seat.dismissed
        if request is None:
            return False
        tally = Tally(self.node.metrics, trio.current_time())
        visit = Visit(viewer, request, caller, tally, last=not seat.lasts)
        try:
            if (following := await self._route(visit, request, seat)) is not True:
                return following
        except PassedOnError:
            await self._answers.again(visit)
        except AdmissionError as error:
            await self._answers.error(visit, error)
        except _LEFT:
            tally.cut(VIEWER_LEFT)
            raise
        except BaseException:
            tally.cut("draining" if self.node.drain.draining else "internal_error")
            raise
        finally:
            self._end(tally, request, caller)
        if viewer.next_cycle() and not self._closing and seat.lasts:
            return True
        await viewer.lingering_close()
        return False

    def _end(self, tally: Tally, request: ViewerRequest | None, caller: Caller) -> None:
        """Close the books on a request; the access log gets its record."""
        tally.end()
        if tally.session is not None and request is not None:
            self._tell_owner(tally.session, tally, request)
        if self.node.settings.access_log and not tally.of_tunnel:
            head = None if request is None else request.head
            viewer = caller.viewer_address(self.node, head)
            access.info("exchange", extra=tally.record(viewer, head, trio.current_time()))

    def _tell_owner(self, session: Session, tally: Tally, request: ViewerRequest) -> None:
        """Show a request that is over to the session's owner, if he looks."""
        entry = self.node.routes.find_id(session.session_id)
        if entry is None or entry.watch is None:
            return
        entry.watch.note(
            Finished(
                at=self.node.now(),
                viewer_id=tally.viewer_id,
                method=request.head.method.decode("ascii", "replace"),
                path=path_of(request.head.target)[:MAX_SHOWN_PATH],
                status=tally.status,
                duration_s=trio.current_time() - tally.began_at,
            )
        )

    # ── routing ───────────────────────────────────────────────────────────────────────────────

    async def _route(self, visit: Visit, request: ViewerRequest, seat: Seat) -> bool | Takeover:
        """Send a request where it belongs; true while the connection goes on to be HTTP."""
        viewer, caller, tally = visit.viewer, visit.caller, visit.tally
        received = request.head.fields
        named = fields.by_name(received)
        host = named.get(b"host", _NONE)[0]
        scheme = None
        if caller.trusted:
            said = fields.behind_proxy(
                received, ViewerFacts(peer="", scheme=b"http", authority=host, trusted=True)
            )
            host, scheme = said.authority, said.scheme
        page = routing.Page(named.get(b"referer", _NONE)[0], named.get(b"sec-fetch-mode", _NONE)[0])
        route = routing.resolve(
            target=request.head.target,
            host=host,
            cookies=named.get(b"cookie", ()),
            page=page,
            public=self.node.public,
        )
        crowded = seat.on_trial or self._relief.budget.shedding
        if crowded and getattr(route, "name", "") not in SPARED:
            raise overloaded(RETRY_AFTER_S)
        match route:
            case routing.ToTunnel():
                facts = caller.facts_of(self.node, route, scheme, request.http_version)
                return await self._proxy(visit, request, route, facts, named)
            case routing.Reserved(name="health"):
                await self._answers.text(visit, b"ok\n")
            case routing.Reserved(name="tunnel"):
                tally.of_tunnel = True
                self.seats.become_tunnel(seat)
                address = caller.viewer_address(self.node, request.head)
                return admit_tunnel(self.node, viewer, request, address)
            case routing.Reserved() if self.node.drain.passing:
                raise PassedOnError  # what it changes or shows is the next process's
            case routing.Reserved():
                seen = scheme or self.node.public.scheme_of(route.authority)
                return await self._desk.serve(visit, request, route, seen)
            case routing.Redirect(location):
                await self._answers.redirect(visit, location)
            case routing.Misdirected():
                raise AdmissionError(421, "misdirected", "This server does not serve that host.")
            case routing.Asterisk():
                await self._answers.options(visit)
            case routing.Home():
                await self._answers.home(visit)
            case _:
                raise AdmissionError(404, "not_found", "There is nothing here.")
        return True

    # ── through a tunnel ──────────────────────────────────────────────────────────────────────

    async def _proxy(
        self,
        visit: Visit,
        request: ViewerRequest,
        route: routing.ToTunnel,
        facts: ViewerFacts,
        named: fields.Named,
    ) -> bool:
        node, viewer, tally = self.node, visit.viewer, visit.tally
        admitted = await admit_viewer(node, request.head, named, route, visit.caller, facts.scheme)
        entry = admitted.entry
        tally.admit(entry.session, entry.meter, node.now, admitted.viewer.viewer_id)
        cookies = tuple((b"Set-Cookie", cookie) for cookie in admitted.cookies)
        if admitted.location:
            await self._answers.see_other(visit, admitted.location, cookies)
            return True
        if forwarded.forwards_left(admitted.head) == 0:
            await self._answers.options(visit)
            return True
        forward = partial(_forward, admitted.head, facts)
        head = derive(admitted.head, "tunnel's", facts, forward)
        if request.has_content and head.upgrade:
            head = evolve(head, upgrade=b"")  # RFC 9110 §7.8: a server may ignore the offer
        exchange = Exchange(
            viewer, request, head, facts, node.settings, node.drain, tally, self._idle_watch
        )
        if route.visit:
            exchange.extra = ((b"Set-Cookie", routing.route_cookie(route.slug, node.public)),)
        exchange.private, exchange.decoding = cookies, entry.decoding
        if admitted.facts.owner and not facts.sandboxed and wants_bar(head):
            exchange.head = prepare(head)
            exchange.bar = Bar(
                slug=route.slug,
                authority=_base_of(route),
                random=secrets.token_bytes(NONCE_BYTES),
                integrity=barfiles.asset("overlay.js").integrity,
            )
        exchange.max_content_bytes = lambda: entry.session.policy.max_content_bytes
        await self._watched(exchange, admitted)
        return not (tally.upgraded or exchange.aborted)

    async def _watched(self, exchange: Exchange, admitted: Admitted) -> None:
        """Run an exchange until it ends, its viewer leaves, or the owner shuts him out."""
        crowd, viewer = admitted.entry.crowd, exchange.viewer
        shut_out = partial(self._shut_out, exchange)
        crowd.begin(admitted.viewer, admitted.facts, shut_out)
        admitted.entry.ring()
        fd = self._leavers.watch(viewer.stream, exchange)
        # Only upgraded connections half-close: after a 101 a FIN is not leaving.
        exchange.on_upgrade = lambda: self._leavers.unwatch(fd, exchange)
        try:
            await self._run_exchange(exchange, admitted.entry, owner=admitted.facts.owner)
            return
        except (AdmissionError, StreamError, TunnelError, *_LEFT):
            if not exchange.cancelled:  # else they are no more than its end
                raise
        finally:
            self._leavers.unwatch(fd, exchange)
            crowd.end(admitted.viewer, shut_out, trio.current_time())
        exchange.tally.cut(VIEWER_LEFT)
        await exchange.abort()  # what was sent so far must not look whole

    def _shut_out(self, exchange: Exchange) -> None:
        exchange.tally.cut("removed")
        exchange.farewell = POLICY_VIOLATION
        exchange.cancel("the owner shuts this viewer out")

    async def _run_exchange(self, exchange: Exchange, entry: Entry, *, owner: bool) -> None:
        """Run an exchange to its end, again on a new tunnel where that is safe.

        Raises:
            AdmissionError: it failed before the answer's head.
            trio.BrokenResourceError: the viewer left before it, and so do the others of _LEFT.
            StreamError: the exchange was cancelled.
        """
        hold_until = exchange.tally.began_at + self.node.settings.hold_s
        while True:
            tunnel = await self._holds.find_tunnel(
                entry, exchange.request, hold_until, owner=owner, waits_in=exchange.waits_in
            )
            if exchange.head.upgrade and not tunnel.version:
                text = "The client at the other end is too old for WebSockets; update it."
                raise AdmissionError(501, "websocket_unsupported", text)
            try:
                await exchange.run(tunnel)
            except (StreamError, TunnelError, AdmissionError, *_LEFT) as error:
                failure = error
            else:
                return
            if exchange.cancelled:
                raise failure
            left = isinstance(failure, _LEFT)
            if exchange.viewer.response_started:
                exchange.tally.cut(VIEWER_LEFT if left else refusal_of(failure).code)
                if entry.ended:
                    exchange.farewell = GOING_AWAY
                elif isinstance(failure, TunnelError) or not tunnel.takes_streams:
                    exchange.farewell = SERVICE_RESTART
                await exchange.abort()
                return
            if left:
                raise failure
            if entry.ended or entry.session.state(self.node.now()) is not SessionState.LIVE:
                raise gone(entry.session) from failure
            if not self._may_retry(exchange, failure):
                raise refusal_of(failure) from failure

    def _may_retry(self, exchange: Exchange, error: Exception) -> bool:
        """Whether the origin certainly did nothing yet, or doing it twice is harmless."""
        if exchange.request.has_content or exchange.tries >= MAX_TRIES:
            return False
        if isinstance(error, StreamError):
            return error.retryable
        return isinstance(error, TunnelError) and exchange.head.method in RETRIED


def _forward(head: RequestHead, facts: ViewerFacts) -> RequestHead:
    return forwarded.count_down(fields.for_tunnel(head, facts))


def _base_of(route: routing.ToTunnel) -> bytes:
    """Return the base host's authority as the viewer of this tunnel may name it."""
    return route.authority.partition(b".")[2] if route.by == "host" else route.authority

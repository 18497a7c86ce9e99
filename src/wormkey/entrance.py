"""Who comes in at the gateway: a connection's far end, and whether his request may use a session.

Owns the steps from a slug to an admitted request: the session lives, the credentials fit, the
policy agrees, and names that nobody has are not tried without end. Every refusal is an
AdmissionError. Never touches the store and never waits for a client.
"""

from __future__ import annotations

import secrets
from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import trio
from attrs import define, evolve, field, frozen

from wormkey import fields, forwarded, gate, isolation, owners, policy, throttle, viewers
from wormkey.agents import agent_name
from wormkey.cookies import values_of
from wormkey.errors import AdmissionError
from wormkey.fields import Named, ViewerFacts
from wormkey.frames import RequestHead
from wormkey.http1 import Http1Limits
from wormkey.node import Node
from wormkey.policy import Facts
from wormkey.registry import gone
from wormkey.routes.local import Entry
from wormkey.routing import ToTunnel
from wormkey.session import Session, SessionState
from wormkey.signing import own_cookie, own_cookie_name
from wormkey.viewers import Viewer, ViewerIds

if TYPE_CHECKING:
    from wormkey.config import Settings

_NOBODY: Final = ViewerIds(None, "")


@define(eq=False)
class Acquaintance:
    """What a connection's last request showed of its viewer; the same octets show the same again.

    A page's requests come over a few connections, and each would cost four to six HMACs.
    ``cookie`` is one that was given to a browser which had none; it is given again, so that a
    browser's first requests do not make a stranger each.
    """

    shown: bytes = b""  # a digest: an idle connection keeps nobody's cookies
    ids: ViewerIds = _NOBODY
    cookie: bytes = b""
    cookie_id: str = ""
    told: tuple[object, ...] = ()  # what the last request's facts were made of
    facts: ViewerFacts | None = None


@frozen
class Caller:
    """Who is at the other end of a connection: his address, and whether the operator trusts it."""

    peer: str
    trusted: bool
    acquaintance: Acquaintance = field(factory=Acquaintance, eq=False, repr=False)

    @classmethod
    def of(cls, node: Node, peer: str) -> Caller:
        """Return the caller whose connection comes from this address."""
        return cls(peer, forwarded.is_trusted(peer, node.settings.trusted_proxies))

    def facts_of(
        self, node: Node, route: ToTunnel, scheme: bytes | None, http_version: bytes
    ) -> ViewerFacts:
        """Return what the next hops hear of a viewer: the same object while nothing changes."""
        known, routing = self.acquaintance, node.settings.routing
        told = (route.authority, route.prefix, route.by, scheme, http_version, routing)
        if known.facts is None or known.told != told:
            known.told = told
            known.facts = ViewerFacts(
                peer=self.peer,
                scheme=scheme or node.public.scheme_of(route.authority),
                authority=route.authority,
                prefix=route.prefix,
                http_version=http_version,
                trusted=self.trusted,
                shared_origin=route.by != "host",
                sandboxed=route.by != "host" and routing == "host",
            )
        return known.facts

    def viewer_address(self, node: Node, head: RequestHead | None) -> str:
        """Return the address that a request came from, as far as trusted proxies vouch for it."""
        if not self.trusted or head is None:
            return self.peer
        values = fields.get(head.fields, b"x-forwarded-for")
        return forwarded.viewer_address(values, self.peer, node.settings.trusted_proxies)


@frozen(kw_only=True)
class Admitted:
    """A request that may use its session.

    ``head`` is what may travel on, without the credentials that were the gateway's. ``cookies``
    are Set-Cookie values for the answer. ``location`` is where a browser goes instead, which
    showed the password in its address.
    """

    entry: Entry
    viewer: Viewer
    facts: Facts
    head: RequestHead
    cookies: tuple[bytes, ...] = ()
    location: bytes = b""


async def admit_viewer(
    node: Node, head: RequestHead, named: Named, route: ToTunnel, caller: Caller, scheme: bytes
) -> Admitted:
    """Return what the request may do, its viewer counted; ``named`` are its fields by name.

    Raises:
        AdmissionError: 404 nobody has the name, 429 after too many such; 410 the session is over;
            401, 403, 405, 413, 429 its owner's rules say no.

    Cancellation: nothing is counted as wrong.
    """
    address = caller.viewer_address(node, head)
    if route.by in ("cookie", "referer"):  # the path names nobody
        if node.routes.find(route.slug) is None:  # a session long gone
            raise AdmissionError(404, "not_found", "There is nothing here.")
        if isolation.asks_for_worker(head.fields):
            sentence = "By path, a service worker's script must lie under /s/SLUG/."
            raise AdmissionError(404, "not_found", sentence)
    entry = find_live(node, route.slug, address)
    request = _Request(node, head, named, route, entry.session, address, scheme, caller)
    shown = await request.read_credentials()
    if not _has_same_credentials(entry.session, request.session):  # changed while a hash was made
        facts = evolve(shown.facts, authenticated=False, knows_password=False)
        shown = evolve(shown, facts=facts)
    verdict = policy.admit(entry.session, shown.facts)
    match verdict:
        case policy.Challenge():
            if b"authorization" in named:  # a browser's first request has none
                node.metrics.failed_authentications["viewer"] += 1
            raise AdmissionError(
                401,
                "credentials_required",
                "This page wants a user name and a password.",
                fields=(policy.challenge_field(entry.session),),
            )
        case policy.AskPassword():
            if shown.wrong:
                node.metrics.failed_authentications["viewer"] += 1
            raise gate.PasswordWanted(
                entry.session,
                target=head.target,
                by_path=route.by != "host",
                wrong=shown.wrong,
            )
        case policy.Refuse(status, code, message, extra):
            raise AdmissionError(status, code, message, fields=extra)
        case policy.Admit():
            return request.enter(entry, shown)


def find_live(node: Node, slug: str, address: str) -> Entry:
    """Return the entry of a session that lives; names that nobody has are counted.

    Raises:
        AdmissionError: 404 nobody has the name, 429 after too many such; 410 the session is over.
    """
    entry = node.routes.find(slug)
    if entry is None:
        _count_miss(node, address)
        raise AdmissionError(404, "unknown_session", "No tunnel has this name.")
    if entry.ended or entry.session.state(node.now()) is not SessionState.LIVE:
        raise gone(entry.session)
    return entry


@frozen
class _Shown:
    """What a request shows of itself."""

    facts: Facts
    head: RequestHead
    cookies: tuple[bytes, ...] = ()
    location: bytes = b""
    wrong: bool = False  # a password that is not the session's


@define(eq=False)
class _Request:
    """One request for one session, on its way in."""

    node: Node
    head: RequestHead
    named: Named
    route: ToTunnel
    session: Session
    address: str
    scheme: bytes
    caller: Caller

    @property
    def _cookies(self) -> list[bytes]:
        return self.named.get(b"cookie", [])

    def _is_owner(self) -> bool:
        """Tell whether an owner's browser asks: by its pass, or on the base host by its cookie."""
        if not self._cookies:
            return False
        read = owners.pass_browser if self.route.by == "host" else owners.owner_browser
        return read(self.node.key, self.session, self._cookies, self.scheme) is not None

    async def read_credentials(self) -> _Shown:
        """Return who asks, with what he showed taken out of the request.

        Raises:
            AdmissionError: 429 after too many wrong passwords.
        """
        session, owner = self.session, self._is_owner()
        authorization = self.named.get(b"authorization", [])
        length = self.named.get(b"content-length")
        facts = Facts(
            target=self.route.target,
            method=self.head.method,
            address=self.address,
            content_length=None if length is None else int(length[0]),
            owner=owner,
        )
        head = self.head
        if head.target != self.route.target:
            head = RequestHead(head.method, self.route.target, head.fields)
        if session.auth_mode != "none":
            right = len(authorization) == 1 and await self.node.registry.passwords.check_basic(
                session, authorization[0], self.address
            )
            facts, head = evolve(facts, authenticated=right), _without_authorization(head)
        shown = _Shown(facts, head)
        return shown if session.gate_hash is None else await self._at_gate(shown, authorization)

    async def _at_gate(self, shown: _Shown, authorization: list[bytes]) -> _Shown:
        """Look for the password: in the gate's cookie, in the query, in a Bearer token."""
        node, session = self.node, self.session
        found = gate.shown_in(self.route.target, authorization)
        if found is not None and found.by_query:  # never the app's, whether it is right or not
            target = found.target
            shown = evolve(
                shown,
                facts=evolve(shown.facts, target=target),
                head=evolve(shown.head, target=target),
            )
        values = values_of(gate.cookie_name(session, self.scheme), self._cookies)
        now_s = node.now().timestamp()
        if gate.opens(node.key, session, values, now_s):
            return evolve(shown, facts=evolve(shown.facts, knows_password=True))
        if found is None:
            return shown
        right = await node.registry.passwords.check_gate(session, found.password, self.address)
        if not right:
            return evolve(shown, wrong=True)
        shown = evolve(shown, facts=evolve(shown.facts, knows_password=True))
        if not found.by_query:
            return evolve(shown, head=_without_authorization(shown.head))
        if not self._is_navigation():
            return shown
        prefix = b"/s/" + self.route.slug.encode("ascii") if self.route.by == "path" else b""
        cookie = gate.set_cookie(node.key, session, self.scheme, now_s)
        return evolve(shown, cookies=(cookie,), location=prefix + found.target)

    def _is_navigation(self) -> bool:
        """Tell whether a person's browser asks for a page, which has an address bar."""
        accept = b",".join(self.named.get(b"accept", ())).lower()
        return self.head.method == b"GET" and b"text/html" in accept

    def enter(self, entry: Entry, shown: _Shown) -> Admitted:
        """Count the viewer; give a browser that brought no cookie its own.

        Raises:
            AdmissionError: 403 he was removed; 429 there are too many, or they ask too fast.
        """
        known = self._recognise()
        viewer = entry.crowd.enter(
            entry.session.policy, known.ids, trio.current_time(), owner=shown.facts.owner
        )
        cookies = shown.cookies
        if known.ids.by_cookie is None:
            if not known.cookie or self.caller.trusted:  # a proxy's connection is many browsers'
                self._mint(known)
            viewer.issue(known.cookie_id)
            cookies += (known.cookie,)
        return Admitted(
            entry=entry,
            viewer=viewer,
            facts=shown.facts,
            head=shown.head,
            cookies=cookies,
            location=shown.location,
        )

    def _recognise(self) -> Acquaintance:
        """Return whose request this is."""
        known, key, session_id = self.caller.acquaintance, self.node.key, self.session.session_id
        agent = self.named.get(b"user-agent", [b""])[0]
        # No field's value holds a NUL (grammar.py), so that different parts never read alike.
        parts = (session_id.encode(), self.address.encode(), self.scheme, agent, *self._cookies)
        shown = blake2b(b"\0".join(parts)).digest()
        if known.shown == shown:
            return known
        own = values_of(own_cookie_name("viewer", self.scheme), self._cookies)
        name = viewers.read(key, own)
        known.shown = shown
        known.cookie, known.cookie_id = b"", ""
        known.ids = ViewerIds(
            None if name is None else viewers.id_of(key, session_id, cookie=name),
            viewers.id_of(key, session_id, address=throttle.address_key(self.address)),
            self.address,
            agent_name(agent),
        )
        return known

    def _mint(self, known: Acquaintance) -> None:
        """Make a cookie for a browser that has none."""
        key = self.node.key
        value = viewers.mint(key, secrets.token_bytes(viewers.ID_BYTES))
        name = viewers.read(key, [value]) or b""
        known.cookie_id = viewers.id_of(key, self.session.session_id, cookie=name)
        known.cookie = own_cookie("viewer", value, self.scheme, age_s=viewers.COOKIE_AGE_S)


def _has_same_credentials(one: Session, other: Session) -> bool:
    return (one.password_hash, one.gate_hash) == (other.password_hash, other.gate_hash)


def _without_authorization(head: RequestHead) -> RequestHead:
    kept = tuple(pair for pair in head.fields if pair[0].lower() != b"authorization")
    return evolve(head, fields=kept)


def _count_miss(node: Node, address: str) -> None:
    sentence = "Too many names that nobody has were asked for from your address"
    throttle.take(node.throttles.misses, address, trio.current_time(), sentence)


def http1_limits(settings: Settings) -> Http1Limits:
    """Return what a viewer's connection may send, and how long it may take."""
    return Http1Limits(
        max_head_bytes=settings.max_head_bytes,
        max_target_bytes=settings.max_target_bytes,
        head_timeout_s=settings.head_timeout_s,
        keep_alive_timeout_s=settings.keep_alive_timeout_s,
        content_idle_timeout_s=settings.content_idle_timeout_s,
        write_idle_timeout_s=settings.write_idle_timeout_s,
        min_rate_bytes=settings.min_rate_bytes,
    )


def overloaded(retry_after_s: int) -> AdmissionError:
    """Return the refusal of a viewer for whom there is no room."""
    retry = ((b"Retry-After", str(retry_after_s).encode()),)
    return AdmissionError(503, "overloaded", "The server has no room at the moment.", fields=retry)

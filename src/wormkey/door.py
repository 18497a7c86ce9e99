"""Who stands at the control plane's door: his address, his access token, and how often he came.

Owns the principal of a request that creates sessions, and the rates that bound guessing and
creating. Every refusal is an AdmissionError. Sessions' own tokens are registry.py's to check; here
only the wrong ones are counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import trio
from attrs import frozen

from wormkey import forwarded, throttle
from wormkey.access import principal_of
from wormkey.errors import AdmissionError
from wormkey.guard import bearer_of
from wormkey.routing import is_own_host
from wormkey.throttle import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

    from wormkey.node import Node

T = TypeVar("T")


@frozen(kw_only=True)
class Caller:
    """Who makes a request: ``principal`` is ``token:NAME`` or ``address:ADDRESS``.

    ``free`` callers are bounded by no rate: this machine's own, where everybody is trusted.
    """

    principal: str
    address: str
    free: bool = False

    @property
    def token_name(self) -> str | None:
        """The name of the access token, None without one."""
        kind, _, name = self.principal.partition(":")
        return name if kind == "token" else None


def address_of(node: Node, request: Request) -> str:
    """Return the address that a request came from, as far as trusted proxies vouch for it.

    A unix socket and all loopback addresses are one, ``loopback``.
    """
    peer = "" if request.client is None else request.client.host.partition("%")[0]
    values = [value.encode("latin-1") for value in request.headers.getlist("x-forwarded-for")]
    host = forwarded.viewer_address(values, peer, node.settings.trusted_proxies)
    host = host.removeprefix("::ffff:")
    return LOOPBACK if not host or host == "::1" or host.startswith("127.") else host


async def admit_caller(node: Node, request: Request) -> Caller:
    """Return who may create sessions here, and read what only such callers may read.

    Raises:
        AdmissionError: 401 without a valid access token in token mode; 403 in open mode for a
            web page of an origin that is not configured; 429 after too many wrong tokens.

    Cancellation: nothing is counted.
    """
    address = address_of(node, request)
    if node.settings.access == "token":
        bearer = bearer_of(request.headers)
        if bearer is not None:  # before the store is asked: a flood of guesses costs it nothing
            _check_failures(node, address)
        name = await node.access.check(bearer)
        if name is None:
            if bearer is not None:
                _count_failure(node, address, "access")
            raise no_access()
        return Caller(principal=principal_of(name), address=address)
    # Open mode trusts whoever can connect. A browser connects for any page it shows, also
    # after DNS rebinding, and then names that page's origin (Fetch §3.1); programs do not.
    origin = request.headers.get("origin")
    if origin is not None and origin not in node.settings.cors_origins:
        raise AdmissionError(403, "origin_not_allowed", "this web origin may not create sessions")
    host = request.headers.get("host", "").encode("latin-1")
    if not is_own_host(host, node.public):
        sentence = "this server is not called so; --public-url tells it its name"
        raise AdmissionError(403, "origin_not_allowed", sentence)
    return Caller(principal=f"address:{address}", address=address, free=address == LOOPBACK)


def no_access() -> AdmissionError:
    """Return the 401 that asks for an access token."""
    return AdmissionError(
        401,
        "access_token_required",
        "an access token is needed to create sessions; run wormkey login",
        fields=((b"WWW-Authenticate", b"Bearer"),),
    )


async def is_still_admitted(node: Node, request: Request, caller: Caller) -> bool:
    """Tell whether the token that ``caller`` came by has not been revoked since.

    To be asked once his session is in the routes: who revokes a token and closes its sessions has
    then either seen this one, or done it early enough to be seen here.
    """
    name = caller.token_name
    return name is None or await node.access.check(bearer_of(request.headers)) == name


def admit_creation(node: Node, caller: Caller) -> None:
    """Count one creation of a session by ``caller``.

    Raises:
        AdmissionError: 429 when his token or address has created too many in the last minute, or
            has too many live ones.
    """
    if caller.free:
        return
    settings = node.settings
    if node.routes.live_of(caller.principal) >= settings.max_live_sessions:
        raise throttle.too_many(
            f"you have {settings.max_live_sessions} live sessions, as many as one may have here; "
            "close one first",
            60.0,
        )
    now = trio.current_time()
    rates = [(node.throttles.creations, throttle.address_key(caller.address))]
    if caller.token_name is not None:
        rates.append((node.throttles.token_creations, caller.token_name))
    wait_s = max(rate.ask(key, now) for rate, key in rates)
    if wait_s:
        raise throttle.too_many("too many sessions were created in the last minute", wait_s)
    for rate, key in rates:
        rate.count(key, now)


def authenticated(node: Node, request: Request, check: Callable[[bytes | None], T]) -> T:
    """Return what ``check`` makes of the request's Bearer token, counting wrong ones.

    Raises:
        AdmissionError: what ``check`` raised; 429 after too many wrong tokens.
    """
    address, bearer = address_of(node, request), bearer_of(request.headers)
    if bearer is not None:
        _check_failures(node, address)
    try:
        return check(bearer)
    except AdmissionError as error:
        if bearer is not None and error.status in (401, 404):
            _count_failure(node, address, "session")
        raise


def _check_failures(node: Node, address: str) -> None:
    sentence = "too many wrong tokens came from your address"
    throttle.check(node.throttles.failures, address, trio.current_time(), sentence)


def _count_failure(node: Node, address: str, what: str) -> None:
    node.throttles.failures.count(throttle.address_key(address), trio.current_time())
    node.metrics.failed_authentications[what] += 1


def count_miss(node: Node, address: str) -> None:
    """Count a name that nobody has, asked for from ``address``.

    Raises:
        AdmissionError: 429 when the address asked for too many in the last minute.
    """
    sentence = "too many names that nobody has were asked for"
    throttle.take(node.throttles.misses, address, trio.current_time(), sentence)

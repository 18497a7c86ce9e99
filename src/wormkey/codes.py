"""What each error code means, on whose side it is, and what to do: one table for all who say it.

Owns the sentences. The gateway's pages and JSON (pages.py), ``wormkey explain`` and docs/errors.md
take them from here; a test compares the last. Here are the codes that a viewer can meet, in
apicodes.py the others. Nothing that varies comes in: no slug, no address, no number.
"""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping


class Side(enum.Enum):
    """Who can put it right; the value is the word that docs/errors.md and ``explain`` say."""

    VIEWER = "viewer"
    REQUEST = "request"
    APP = "app"
    OWNER = "owner"
    OPERATOR = "operator"


SIDES: Final[Mapping[Side, str]] = MappingProxyType(
    {
        Side.VIEWER: "Nothing is broken. It is about who asks, for what, and how often.",
        Side.REQUEST: "The fault is in the request as it was sent, not in the app.",
        Side.APP: "The fault is at the app behind this link. Your browser and the tunnel work.",
        Side.OWNER: "This is up to whoever shares the app. Nothing is wrong with your browser.",
        Side.OPERATOR: "This is up to the server in between. App and browser are not at fault.",
    }
)


@frozen
class ErrorPage:
    """What an error code says: its usual status, whose side it is on, and three sentences.

    A part of ``remedy`` that begins with "Owners:", "Operators:" or "Programs:" is for them.
    """

    status: int
    side: Side
    title: str
    meaning: str
    remedy: str


ERRORS: Final[Mapping[str, ErrorPage]] = MappingProxyType(
    {
        # ── whose tunnel ───────────────────────────────────────────────────────────────────
        "unknown_session": ErrorPage(
            404,
            Side.VIEWER,
            "No tunnel has this name",
            "The gateway knows no session of this name.",
            "Check the address for a slip, or ask whoever sent it for the current one.",
        ),
        "session_expired": ErrorPage(
            410,
            Side.OWNER,
            "This link has expired",
            "The session reached the end of the time it was given.",
            "Ask its owner for a new link. Owners: wormkey expose starts a new session.",
        ),
        "session_closed": ErrorPage(
            410,
            Side.OWNER,
            "This link was closed",
            "The owner ended the session.",
            "Ask its owner for a new link. Owners: wormkey expose starts a new session.",
        ),
        "no_tunnel": ErrorPage(
            502,
            Side.OWNER,
            "The tunnel is not connected",
            "The session is alive, but no client is connected for it at the moment.",
            "Try again in a moment. Owners: run wormkey again, the address stays the same.",
        ),
        "tunnel_lost": ErrorPage(
            502,
            Side.OWNER,
            "The tunnel was cut",
            "The connection to the owner's machine broke before the answer came.",
            "Try again: the client reconnects by itself.",
        ),
        "paused": ErrorPage(
            503,
            Side.OWNER,
            "Paused by its owner",
            "The owner holds back new requests for the moment.",
            "Try again later. Owners: press Resume in the bar, or R in the terminal of wormkey.",
        ),
        "draining": ErrorPage(
            503,
            Side.OPERATOR,
            "The gateway is restarting",
            "The gateway finishes what has begun and takes nothing new.",
            "Try again in a few seconds.",
        ),
        "overloaded": ErrorPage(
            503,
            Side.OPERATOR,
            "The gateway has no room",
            "More connections are open than the server can bear.",
            "Try again in a few seconds. Operators: see docs/limits.md.",
        ),
        "websocket_unsupported": ErrorPage(
            501,
            Side.OWNER,
            "This client is too old for WebSockets",
            "The tunnel's client speaks protocol v0, which carries no upgraded connections.",
            "Owners: update the client to a version that speaks wormkey.v1.",
        ),
        "websocket_version": ErrorPage(
            426,
            Side.REQUEST,
            "Tunnels are WebSockets of version 13",
            "The handshake for a tunnel names another version of WebSockets, or none.",
            "Programs: send Sec-WebSocket-Version: 13.",
        ),
        # ── the local app ──────────────────────────────────────────────────────────────────
        "origin_unreachable": ErrorPage(
            502,
            Side.APP,
            "The local app does not answer",
            "The tunnel works, but nothing accepts connections where the app should be.",
            "Owners: start the app, or expose the port that it listens on.",
        ),
        "origin_failed": ErrorPage(
            502,
            Side.APP,
            "The local app broke off",
            "The app closed the connection, or sent no valid HTTP, before its answer began.",
            "Owners: the app's own log should say why.",
        ),
        "origin_timeout": ErrorPage(
            504,
            Side.APP,
            "The local app took too long",
            "The app accepted the request and did not begin to answer in time.",
            "Try again. Owners: see what the app is busy with.",
        ),
        # ── who may enter ──────────────────────────────────────────────────────────────────
        "credentials_required": ErrorPage(
            401,
            Side.VIEWER,
            "A name and a password, please",
            "The owner protects this tunnel with credentials.",
            "Reload and enter those that came with the link.",
        ),
        "unauthorized": ErrorPage(
            401,
            Side.VIEWER,
            "The token is not valid",
            "The request bears no token, or one that opens nothing here.",
            "Use the token, or the whole link, that came with the session.",
        ),
        "password_required": ErrorPage(
            401,
            Side.VIEWER,
            "A password, please",
            "The owner protects this page with a password.",
            "Enter the password that came with the link. "
            "Programs: send it as Authorization: Bearer.",
        ),
        "forbidden": ErrorPage(
            403,
            Side.VIEWER,
            "This is not allowed",
            "The request lacks the rights that it needs.",
            "Owners: open the owner link again, in this browser.",
        ),
        "locked": ErrorPage(
            403,
            Side.OWNER,
            "Locked by its owner",
            "The owner does not admit viewers at the moment.",
            "Ask the owner to open it. Owners: open the owner link in this browser.",
        ),
        "removed": ErrorPage(
            403,
            Side.OWNER,
            "You were removed",
            "The owner ended your visit to this tunnel.",
            "Ask the owner if this was a mistake.",
        ),
        "path_blocked": ErrorPage(
            403,
            Side.OWNER,
            "This path is blocked",
            "The owner keeps this part of the app to the local machine.",
            "Ask the owner if you need it.",
        ),
        "method_refused": ErrorPage(
            405,
            Side.OWNER,
            "This method is not let through",
            "The owner lets requests through by some methods only, and this is none of them.",
            "Ask the owner if you need it. Programs: the Allow field names those that pass.",
        ),
        "network_not_allowed": ErrorPage(
            403,
            Side.OWNER,
            "Not from this network",
            "The owner admits viewers from certain networks only, and yours is none of them.",
            "Come from another network, or ask the owner to add yours.",
        ),
        "already_claimed": ErrorPage(
            403,
            Side.OWNER,
            "This owner link has been used",
            "An owner link belongs to the first browser that opens it, and another one did.",
            "Ask the owner for a new link. Owners: make one in the bar, by Owner's link.",
        ),
        "too_many_viewers": ErrorPage(
            429,
            Side.OWNER,
            "Too many viewers",
            "The tunnel has as many viewers as its owner admits.",
            "Try again when somebody has left.",
        ),
        "too_many_streams": ErrorPage(
            429,
            Side.OWNER,
            "Too many requests at once",
            "The tunnel carries as many exchanges as it may.",
            "Try again in a moment.",
        ),
        "too_many_handshakes": ErrorPage(
            503,
            Side.OPERATOR,
            "Too many clients connect at once",
            "More tunnels are being opened than the server takes at a time.",
            "Clients try again by themselves. Operators: see --max-handshakes.",
        ),
        "too_many_requests": ErrorPage(
            429,
            Side.VIEWER,
            "Too many requests",
            "More requests came in a short time than are taken.",
            "Slow down, and try again later. Programs: Retry-After says when.",
        ),
        # ── the request itself ─────────────────────────────────────────────────────────────
        "bad_request": ErrorPage(
            400,
            Side.REQUEST,
            "The request is malformed",
            "The request is not HTTP/1.1 as the standard has it, or can be read in two ways.",
            "If a browser sent it, reload; else look at what the program sends.",
        ),
        "not_found": ErrorPage(
            404,
            Side.VIEWER,
            "Nothing is here",
            "The gateway serves nothing at this path, and no tunnel is chosen.",
            "Open the whole link that you were given.",
        ),
        "method_not_allowed": ErrorPage(
            405,
            Side.REQUEST,
            "The method does not fit",
            "The gateway serves this path, but not with this method.",
            "Open the address in a browser. Programs: the Allow field names those that fit.",
        ),
        "request_timeout": ErrorPage(
            408,
            Side.REQUEST,
            "The request did not arrive",
            "The request's head or content stopped arriving before it was complete.",
            "Try again, on a better connection if there is one.",
        ),
        "content_too_large": ErrorPage(
            413,
            Side.REQUEST,
            "The content is too large",
            "The content is larger than is taken here.",
            "Send less at once.",
        ),
        "target_too_long": ErrorPage(
            414,
            Side.REQUEST,
            "The address is too long",
            "The request's target is longer than is taken here.",
            "Send long parameters as content, by POST.",
        ),
        "expectation_failed": ErrorPage(
            417,
            Side.REQUEST,
            "An expectation that cannot be met",
            "The Expect field holds something other than 100-continue.",
            "Send the request without that field.",
        ),
        "misdirected": ErrorPage(
            421,
            Side.OPERATOR,
            "Another host's request",
            "The host name in the address is not one that this gateway serves.",
            "Use the link as it was given. Operators: --public-url sets the host.",
        ),
        "head_too_large": ErrorPage(
            431,
            Side.REQUEST,
            "Too many or too large fields",
            "The request's header section is larger than is taken here.",
            "Delete this site's cookies, which are the usual cause, and reload.",
        ),
        "not_implemented": ErrorPage(
            501,
            Side.REQUEST,
            "Not served here",
            "The gateway does not serve this method or transfer coding.",
            "Use another method, or the transfer coding chunked.",
        ),
        "version_not_supported": ErrorPage(
            505,
            Side.REQUEST,
            "Another version of HTTP",
            "This listener speaks HTTP/1.1 and HTTP/1.0.",
            "Send the request with one of these.",
        ),
        "internal_error": ErrorPage(
            500,
            Side.OPERATOR,
            "The gateway failed",
            "An error inside the gateway ended the request.",
            "Try again. Operators: the log has this request's id.",
        ),
    }
)

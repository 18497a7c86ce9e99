"""The answers that the gateway makes itself: one table of errors, as a page or as JSON.

Owns what each error code means to the person who sees it and what they can do. Every text is
escaped here and nowhere else; nothing on a page is executable, and its policy says so. Secrets
and targets never come in. The template, assets/page.html, is read once.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from importlib import resources
from string import Template
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from attrs import frozen

from wormkey.hardening import NOTHING_MAY_RUN, OWN_ANSWER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wormkey.frames import Fields

_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_QUALITY: Final = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 §12.4.2
_HTML_RANGES: Final = (b"text/html", b"application/xhtml+xml", b"text/*", b"*/*")


@frozen
class ErrorPage:
    """What an error code says: its usual status, and three sentences for a person."""

    status: int
    title: str
    meaning: str
    remedy: str


ERRORS: Final[Mapping[str, ErrorPage]] = MappingProxyType(
    {
        # ── whose tunnel ───────────────────────────────────────────────────────────────────
        "unknown_session": ErrorPage(
            404,
            "No tunnel has this name",
            "The gateway knows no session of this name.",
            "Check the address for a slip, or ask whoever sent it for the current one.",
        ),
        "session_expired": ErrorPage(
            410,
            "This link has expired",
            "Its session reached the end of the time it was given.",
            "Ask its owner for a new link. Owners: wormkey expose starts a new session.",
        ),
        "session_closed": ErrorPage(
            410,
            "This link was closed",
            "Its owner ended the session.",
            "Ask its owner for a new link. Owners: wormkey expose starts a new session.",
        ),
        "no_tunnel": ErrorPage(
            502,
            "The tunnel is not connected",
            "The session is alive, but no client is connected for it at the moment.",
            "Try again in a minute. Owners: run wormkey again, the address stays the same.",
        ),
        "tunnel_lost": ErrorPage(
            502,
            "The tunnel was cut",
            "The connection to the owner's machine broke before the answer came.",
            "Try again: the client reconnects by itself.",
        ),
        "paused": ErrorPage(
            503,
            "Paused by its owner",
            "The owner holds back new requests for the moment.",
            "Try again later. Owners: press R in the wormkey terminal to resume.",
        ),
        "draining": ErrorPage(
            503,
            "The gateway is restarting",
            "It finishes what has begun and takes nothing new.",
            "Try again in a few seconds.",
        ),
        "websocket_unsupported": ErrorPage(
            501,
            "This client is too old for WebSockets",
            "The tunnel's client speaks protocol v0, which carries no upgraded connections.",
            "Owners: update the client to a version that speaks wormkey.v1.",
        ),
        # ── the local app ──────────────────────────────────────────────────────────────────
        "origin_unreachable": ErrorPage(
            502,
            "The local app does not answer",
            "The tunnel works, but nothing accepts connections where the app should be.",
            "Owners: start the app, or expose the port that it listens on.",
        ),
        "origin_failed": ErrorPage(
            502,
            "The local app broke off",
            "The app closed the connection, or sent no valid HTTP, before its answer began.",
            "Owners: the app's own log should say why.",
        ),
        "origin_timeout": ErrorPage(
            504,
            "The local app took too long",
            "The app accepted the request and did not begin to answer in time.",
            "Try again. Owners: see what the app is busy with.",
        ),
        # ── who may enter ──────────────────────────────────────────────────────────────────
        "credentials_required": ErrorPage(
            401,
            "A name and a password, please",
            "The owner protects this tunnel with credentials.",
            "Reload and enter those that came with the link.",
        ),
        "unauthorized": ErrorPage(
            401,
            "The token is not valid",
            "The request bears no token, or one that opens nothing here.",
            "Use the token that came with the session.",
        ),
        "forbidden": ErrorPage(
            403,
            "This is not allowed",
            "The request lacks the rights that it needs.",
            "Owners: open the owner link again.",
        ),
        "locked": ErrorPage(
            403,
            "Locked by its owner",
            "The owner does not admit viewers at the moment.",
            "Ask the owner to open it.",
        ),
        "removed": ErrorPage(
            403,
            "You were removed",
            "The owner ended your visit to this tunnel.",
            "Ask the owner if this was a mistake.",
        ),
        "path_blocked": ErrorPage(
            403,
            "This path is blocked",
            "The owner keeps this part of the app to the local machine.",
            "Ask the owner if you need it.",
        ),
        "too_many_viewers": ErrorPage(
            429,
            "Too many viewers",
            "The tunnel has as many viewers as its owner admits.",
            "Try again when somebody has left.",
        ),
        "too_many_streams": ErrorPage(
            429,
            "Too many requests at once",
            "The tunnel carries as many exchanges as it may.",
            "Try again in a moment.",
        ),
        "too_many_requests": ErrorPage(
            429,
            "Too many requests",
            "More requests came from your address than are taken.",
            "Wait for the time that Retry-After names.",
        ),
        # ── the request itself ─────────────────────────────────────────────────────────────
        "bad_request": ErrorPage(
            400,
            "The request is malformed",
            "It is not HTTP/1.1 as the standard has it, or can be read in two ways.",
            "If a browser sent it, reload; else look at what the program sends.",
        ),
        "not_found": ErrorPage(
            404,
            "Nothing is here",
            "The gateway serves nothing at this path, and no tunnel is chosen.",
            "Open the whole link that you were given.",
        ),
        "method_not_allowed": ErrorPage(
            405,
            "The method does not fit",
            "The gateway serves this path, but not with this method.",
            "The Allow field names those that fit.",
        ),
        "request_timeout": ErrorPage(
            408,
            "The request did not arrive",
            "Its head or content stopped arriving before it was complete.",
            "Try again, on a better connection if there is one.",
        ),
        "content_too_large": ErrorPage(
            413,
            "The content is too large",
            "It is larger than is taken here.",
            "Send less at once.",
        ),
        "target_too_long": ErrorPage(
            414,
            "The address is too long",
            "The request's target is longer than is taken here.",
            "Send long parameters as content, by POST.",
        ),
        "expectation_failed": ErrorPage(
            417,
            "An expectation that cannot be met",
            "The Expect field holds something other than 100-continue.",
            "Send the request without that field.",
        ),
        "misdirected": ErrorPage(
            421,
            "Another host's request",
            "The host name in the address is not one that this gateway serves.",
            "Use the link as it was given. Operators: --public-url sets the host.",
        ),
        "head_too_large": ErrorPage(
            431,
            "Too many or too large fields",
            "The request's header section is larger than is taken here.",
            "Delete this site's cookies, which are the usual cause, and reload.",
        ),
        "not_implemented": ErrorPage(
            501,
            "Not served here",
            "The gateway does not serve this method or transfer coding.",
            "Use another method, or the transfer coding chunked.",
        ),
        "version_not_supported": ErrorPage(
            505,
            "Another version of HTTP",
            "This listener speaks HTTP/1.1 and HTTP/1.0.",
            "Send the request with one of these.",
        ),
        "internal_error": ErrorPage(
            500,
            "The gateway failed",
            "An error inside the gateway ended the request.",
            "Try again. Operators: the log has this request's id.",
        ),
    }
)
_UNLISTED: Final = ErrorPage(500, "The request was not served", "The gateway refused it.", "")


def render(
    *,
    code: str,
    request_id: str,
    status: int = 0,
    message: str = "",
    accept: bytes = b"",
    detail: str = "",
) -> tuple[Fields, bytes]:
    """Return fields and content of an error answer: JSON where ``accept`` prefers it, else a page.

    Args:
        code: a key of ERRORS, the value of Wormkey-Error; another one gets a general text.
        request_id: what the log knows the request by.
        status: shown on the page; 0 for the code's usual one.
        message: one sentence instead of the code's meaning; untrusted text is fine.
        accept: the Accept field's value.
        detail: what the other end said of it; untrusted, shown apart.
    """
    page = ERRORS.get(code, _UNLISTED)
    message = message or page.meaning
    own = ((b"Wormkey-Error", _visible(code)), (b"Wormkey-Request-Id", _visible(request_id)))
    if prefers_json(accept):
        sentence = f"{message} {detail}" if detail else message
        value = {"error": sentence, "code": code, "requestId": request_id}
        return _answer(b"application/json", json.dumps(value).encode() + b"\n", own)
    parts = [
        f'<p class="status">{status or page.status}</p>',
        f"<h1>{html.escape(page.title)}</h1>",
        f"<p>{html.escape(message)}</p>",
        f"<pre>{html.escape(detail)}</pre>" if detail else "",
        f"<p>{html.escape(page.remedy)}</p>" if page.remedy else "",
        f"<footer>Wormkey · <code>{html.escape(code)}</code>"
        f" · request <code>{html.escape(request_id)}</code></footer>",
    ]
    return _page(page.title, parts, own)


def render_home() -> tuple[Fields, bytes]:
    """Return fields and content of the base host's front page, which names no session."""
    parts = [
        "<h1>This is a Wormkey gateway</h1>",
        "<p>It passes visitors on to web apps that run on their owners' own machines.</p>",
        "<p>If somebody sent you a link, open the whole of it. "
        "To share an app of your own, run <code>wormkey expose</code> with its port.</p>",
    ]
    return _page("Wormkey", parts, ())


def prefers_json(accept: bytes) -> bool:
    """Tell whether an Accept value prefers JSON to a page (RFC 9110 §12.5.1).

    JSON must be named. Named alike, a page wins, as browsers mean it; against a page that only
    a wildcard admits, JSON wins, as scripts mean it.
    """
    accept = accept.lower()
    if b"json" not in accept:
        return False
    qualities: dict[bytes, float] = {}
    for part in accept.split(b","):
        kind, *parameters = [piece.strip(b" \t") for piece in part.split(b";")]
        if kind.startswith(b"application/") and kind.endswith(b"+json"):
            kind = b"application/json"
        qualities[kind] = max(qualities.get(kind, 0.0), _quality(parameters))
    wanted = qualities.get(b"application/json", 0.0)
    page = next((kind for kind in _HTML_RANGES if kind in qualities), b"")
    other = qualities.get(page, 0.0)
    return wanted > other or (wanted == other > 0 and page.endswith(b"*"))


def _quality(parameters: list[bytes]) -> float:
    for parameter in parameters:
        if parameter.startswith(b"q="):
            return float(parameter[2:]) if _QUALITY.fullmatch(parameter[2:]) else 0.0
    return 1.0


def _visible(text: str) -> bytes:
    """Spell a text as a field value: what is not visible ASCII becomes ``?``."""
    return bytes(
        octet if 0x21 <= octet <= 0x7E else 0x3F for octet in text.encode("utf-8", "replace")
    )


def _page(title: str, parts: list[str], own: Fields) -> tuple[Fields, bytes]:
    template, own_policy = _template()
    text = template.substitute(title=html.escape(title), content="\n".join(filter(None, parts)))
    return _answer(b"text/html; charset=utf-8", text.encode("utf-8", "replace"), own, own_policy)


def _answer(
    content_type: bytes, content: bytes, own: Fields, own_policy: bytes = NOTHING_MAY_RUN
) -> tuple[Fields, bytes]:
    guards = dict(OWN_ANSWER) | {b"Content-Security-Policy": own_policy}
    fields = (
        (b"Content-Type", content_type),
        (b"Content-Length", b"%d" % len(content)),
        *guards.items(),
        *own,
    )
    return fields, content


@cache
def _template() -> tuple[Template, bytes]:
    """Read the page once; its policy admits its own style sheet and nothing else."""
    text = resources.files("wormkey").joinpath("assets/page.html").read_text("utf-8")
    style = "".join(_STYLE.findall(text))
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )
    return Template(text), policy.encode()

"""The answers that the gateway makes itself, as a page or as JSON: errors, the password form, home.

What the codes mean stands in codes.py. Every text is escaped here and nowhere else; nothing on a
page is executable, and its policy says so. Secrets never come in, and only the password form has a
target. The template, assets/page.html, is read once.
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
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from wormkey.codes import ERRORS, SIDES, ErrorPage, Side
from wormkey.hardening import OWN_ANSWER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wormkey.frames import Fields

_STYLE: Final = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_QUALITY: Final = re.compile(rb"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?")  # RFC 9110 §12.4.2
_HTML_RANGES: Final = (b"text/html", b"application/xhtml+xml", b"text/*", b"*/*")
_FOR_WHOM: Final = re.compile(r" ?\b(Owners|Operators|Programs): ")  # as codes.ErrorPage says
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})  # may be over at the next try
_ASKED: Final = frozenset({"credentials_required"})  # the browser asks again at the next try
_UNLISTED: Final = ErrorPage(
    500, Side.OPERATOR, "The request was not served", "The gateway refused it.", ""
)


def render(
    *,
    code: str,
    request_id: str,
    status: int = 0,
    message: str = "",
    accept: bytes = b"",
    detail: str = "",
    fields: Fields = (),
    safe: bool = False,
) -> tuple[Fields, bytes]:
    """Return fields and content of an error answer: JSON where ``accept`` prefers it, else a page.

    Args:
        code: a key of codes.ERRORS, the value of Wormkey-Error; another one gets a general text.
        request_id: what the log knows the request by.
        status: shown on the page; 0 for the code's usual one.
        message: one sentence instead of the code's meaning; untrusted text is fine.
        accept: the Accept field's value.
        detail: what the other end said of it; untrusted, shown apart.
        fields: go out with the answer; the page says what its Retry-After says.
        safe: the request was a GET or HEAD, so a link may send it again.
    """
    page = ERRORS.get(code, _UNLISTED)
    status, message = status or page.status, message or page.meaning
    own = _marks(code, request_id) + fields
    if prefers_json(accept):
        return _json(f"{message} {detail}" if detail else message, code, request_id, own)
    parts = [
        f'<p class="status">{status}</p>',
        f"<h1>{html.escape(page.title)}</h1>",
        f"<p>{html.escape(message)}</p>",
        f"<pre>{html.escape(detail)}</pre>" if detail else "",
        f'<p class="side">{html.escape(SIDES[page.side])}</p>',
        *_advice(page.remedy),
        _again(_wait_s(fields), link=safe and (status in _PASSING or code in _ASKED)),
        _foot(code, request_id),
    ]
    return _page(page.title, parts, own)


def render_gate(
    *,
    slug: str,
    request_id: str,
    target: bytes,
    by_path: bool,
    wrong: bool = False,
    accept: bytes = b"",
) -> tuple[Fields, bytes]:
    """Return fields and content of the 401 that asks for a page's password.

    The form posts ``password`` and ``target`` to /.wormkey/gate of the host that showed it.

    Args:
        slug: names the tunnel, and is the user name under which a browser keeps the password.
        request_id: what the log knows the request by.
        target: the target as the viewer sent it, to go back to. Untrusted here, and again when it
            comes back.
        by_path: the viewer is on the base host, where ``?slug=`` names the tunnel.
        wrong: a password was given, and it was not this one.
        accept: the Accept field's value.
    """
    code = "password_required"
    page = ERRORS[code]
    # RFC 6750 §3: scripts may send the password as a Bearer token; no browser asks for one.
    challenge = b'Bearer realm="%b"' % _visible(slug).replace(b'"', b"?").replace(b"\\", b"?")
    if wrong:
        challenge += b', error="invalid_token"'
    own = (*_marks(code, request_id), (b"WWW-Authenticate", challenge))
    message = "That was not the password." if wrong else page.meaning
    if prefers_json(accept):
        return _json(f"{message} Send it as Authorization: Bearer.", code, request_id, own)
    action = f"/.wormkey/gate?slug={quote(slug)}" if by_path else "/.wormkey/gate"
    said = ' aria-invalid="true" aria-describedby="wrong"' if wrong else ""
    title = f"Wrong password: {slug}" if wrong else f"Password: {slug}"
    parts = [
        f"<h1>{html.escape(page.title)}</h1>",
        f"<p>The owner protects <strong>{html.escape(slug)}</strong> with a password. "
        "It should have come with the link.</p>",
        f'<form method="post" action="{html.escape(action)}">',
        f'<input type="hidden" name="target" value="{html.escape(target.decode("latin-1"))}">',
        f'<input type="text" name="username" value="{html.escape(slug)}" '
        'autocomplete="username" readonly hidden>',
        '<label for="password">Password</label>',
        '<p class="wrong" id="wrong" role="alert">That was not the password. '
        "Try again, or ask the owner.</p>"
        if wrong
        else "",
        '<input type="password" id="password" name="password" '
        f'autocomplete="current-password" required autofocus{said}>',
        '<button class="act">Open</button>',
        "</form>",
        _foot(code, request_id),
    ]
    # Without a referrer a browser would send "Origin: null" with the form (Fetch §3.1).
    return _page(title, parts, own, form=b"'self'", referrer=b"same-origin")


def render_home() -> tuple[Fields, bytes]:
    """Return fields and content of the base host's front page, which names no session."""
    parts = [
        "<h1>This is a Wormkey gateway</h1>",
        "<p>It passes visitors on to web apps that run on their owners' own machines.</p>",
        "<p>If somebody sent you a link, open the whole of it. "
        "To share an app of your own, run <code>wormkey expose</code> with its port.</p>",
    ]
    return _page("Wormkey", parts, ())


def _marks(code: str, request_id: str) -> Fields:
    return (b"Wormkey-Error", _visible(code)), (b"Wormkey-Request-Id", _visible(request_id))


def _json(sentence: str, code: str, request_id: str, own: Fields) -> tuple[Fields, bytes]:
    value = {"error": sentence, "code": code, "requestId": request_id}
    return _answer(b"application/json", json.dumps(value).encode() + b"\n", own)


def _advice(remedy: str) -> list[str]:
    """Return a remedy as paragraphs, one for each kind of reader."""
    if not remedy:
        return []
    first, *others = _FOR_WHOM.split(remedy)
    parts = ["<h2>What to do</h2>", f"<p>{html.escape(first)}</p>" if first else ""]
    for whom, text in zip(others[::2], others[1::2], strict=True):
        parts.append(f"<p><strong>{whom}:</strong> {html.escape(text)}</p>")
    return parts


def _wait_s(fields: Fields) -> int:
    """Return the seconds that Retry-After names, 0 without one."""
    values = [value for name, value in fields if name.lower() == b"retry-after"]
    return int(values[0][:9]) if len(values) == 1 and values[0].isdigit() else 0


def _again(wait_s: int, *, link: bool) -> str:
    """Return the link that asks again, and when to use it.

    No page reloads by itself: it would take a screen reader's place from him (WCAG 2.2.1), and a
    forgotten tab would hold a viewer's place and a held request for ever.
    """
    when = "" if not wait_s else "after a second" if wait_s == 1 else f"after {wait_s} seconds"
    if link:  # the empty reference is the page's own address
        return f'<p class="again"><a class="act" href="">Try again</a> {when}</p>'
    return f'<p class="again">Try again {when}.</p>' if when else ""


def _foot(code: str, request_id: str) -> str:
    return (
        f"<footer>Wormkey · <code>{html.escape(code)}</code>"
        f" · request <code>{html.escape(request_id)}</code></footer>"
    )


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


def _page(
    title: str,
    parts: list[str],
    own: Fields,
    *,
    form: bytes = b"'none'",
    referrer: bytes = b"no-referrer",
) -> tuple[Fields, bytes]:
    """Return a page; ``form`` is where its forms may be sent."""
    template, policy = _template()
    text = template.substitute(title=html.escape(title), content="\n".join(filter(None, parts)))
    guards = {
        b"Content-Security-Policy": policy + b"; form-action " + form,
        b"Referrer-Policy": referrer,
    }
    content = text.encode("utf-8", "replace")
    return _answer(b"text/html; charset=utf-8", content, own, dict(OWN_ANSWER) | guards)


def _answer(
    content_type: bytes,
    content: bytes,
    own: Fields,
    guards: Mapping[bytes, bytes] | None = None,
) -> tuple[Fields, bytes]:
    fields = (
        (b"Content-Type", content_type),
        (b"Content-Length", b"%d" % len(content)),
        *(OWN_ANSWER if guards is None else guards.items()),
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
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; frame-ancestors 'none'"
    )
    return Template(text), policy.encode()

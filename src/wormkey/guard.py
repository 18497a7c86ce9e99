"""What every request of the control plane passes before its call, and the shape of every error.

Owns the refusal of WebSockets and of odd methods and paths, Bearer and JSON reading, and the
boundary where a bug becomes a 500. What is no HTTP, or too much of it, ends before (front.py).
Knows nothing of sessions.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from attrs import define
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Match
from starlette.types import ASGIApp

from wormkey.errors import AdmissionError
from wormkey.introduction import Introduction
from wormkey.metrics import status_class
from wormkey.node import Node

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.datastructures import Headers
    from starlette.routing import Route
    from starlette.types import Message, Receive, Scope, Send

    from wormkey.frames import Fields

logger = logging.getLogger(__name__)

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)[ \t]*\Z", re.ASCII | re.IGNORECASE)
_ABSOLUTE_FORM = re.compile(rb"https?://[^/?]*", re.IGNORECASE)
# Proxies and servers disagree on what these are: a rule for /a/b in front would not meet /a%2Fb.
_ENCODED_SEPARATOR = re.compile(rb"%(?:2f|5c|00)", re.IGNORECASE)
_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_UTF_8: Final = frozenset({"", "utf-8"})


def bearer_of(fields: Headers) -> bytes | None:
    """Return the Bearer token (RFC 6750 §2.1); None where there is none, or more than one."""
    values = fields.getlist("authorization")
    match = _BEARER.match(values[0]) if len(values) == 1 else None
    return None if match is None else match[1].encode("ascii")


async def read_json(request: Request) -> object:
    """Return the request's content, which must be I-JSON (RFC 7493).

    What two readers could understand differently is refused: names that repeat, lone surrogates,
    encodings other than UTF-8 without a mark. Numbers no machine holds are refused as well.

    Raises:
        AdmissionError: 415 for another content type or a coding, 400 for what is not I-JSON.
    """
    _check_media_type(request.headers)
    content = await request.body()
    try:
        text = content.decode("utf-8")
        document: object = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_number,
            object_pairs_hook=_unique,
        )
        if _SURROGATE_ESCAPE.search(text):  # UTF-8 cannot hold a lone one; a pair is one character
            json.dumps(document, ensure_ascii=False).encode("utf-8")
    except (ValueError, RecursionError):
        raise AdmissionError(400, "invalid_json", "the content is not valid JSON") from None
    return document


def _check_media_type(fields: Headers) -> None:
    values = fields.getlist("content-type")
    media_type, *parameters = (values[0] if values else "").lower().split(";")
    charset = "".join(
        value.strip(' "')
        for name, _, value in (each.partition("=") for each in parameters)
        if name.strip() == "charset"
    )
    coding = ",".join(fields.getlist("content-encoding")).strip().lower()
    fits = len(values) < 2 and media_type.strip() in {"", "application/json"}
    if not fits or charset not in _UTF_8 or coding not in {"", "identity"}:
        raise AdmissionError(
            415,
            "unsupported_media_type",
            "Content-Type must be application/json, in UTF-8 and not compressed",
            fields=((b"Accept", b"application/json"),),
        )


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> float:
    """Return a number; 80.0 is the integer 80, as for JSON Schema (RFC 8259 §6 knows one type)."""
    number = float(text)
    return int(number) if number.is_integer() else number


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name repeats")
    return members


# ── errors ──────────────────────────────────────────────────────────────────────────────────


def error_response(
    status: int, code: str, message: str, fields: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error in the API's one shape."""
    return JSONResponse({"error": message, "code": code}, status_code=status, headers=fields)


async def refused(_request: Request, error: Exception) -> Response:
    """Answer an AdmissionError."""
    if not isinstance(error, AdmissionError):  # Starlette's type for handlers is this wide
        raise error
    fields = {name.decode("ascii"): value.decode("ascii") for name, value in error.fields}
    return error_response(error.status, error.code, str(error), fields)


async def store_failed(_request: Request, error: Exception) -> Response:
    """Answer a StoreError with 503."""
    # The sentence names files: it is for the operator's log, not for the network.
    logger.error("store failed", extra={"error": str(error)})
    message = "the server cannot keep sessions right now; its operator finds the reason in the log"
    return error_response(503, "store_failed", message, {"Retry-After": "10"})


async def not_routed(request: Request, error: Exception) -> Response:
    """Answer what the router has no call for: 405 or 404."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        # Starlette names the methods of the first route that has this path, not of all of them.
        routes: Sequence[Route] = request.app.routes
        fitting = (each for each in routes if each.matches(request.scope)[0] is not Match.NONE)
        methods = {method for route in fitting for method in route.methods or ()}
        allow = {"Allow": ", ".join(sorted(methods))}
        return error_response(405, "method_not_allowed", "this path takes other methods", allow)
    return error_response(404, "not_found", "there is nothing at this path", error.headers)


class Cors(CORSMiddleware):
    """CORS whose refusals have the shape of every other error."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer a preflight request."""
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        fields = {k: v for k, v in answer.headers.items() if not k.startswith("content-")}
        return error_response(
            400, "cors_refused", "this web origin, method or field is not allowed", fields
        )


@define
class Introduced:
    """Lets in who was introduced by the front, under the address that the front saw."""

    app: ASGIApp
    introduction: Introduction

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        peer, scope["headers"] = self.introduction.read(scope["headers"])
        scope["client"] = None if peer is None else (peer, 0)
        if peer is None and scope["type"] == "http":
            answer = error_response(404, "not_found", "there is nothing at this path")
            await answer(scope, receive, send)
            return
        await self.app(scope, receive, send)


@define
class Guard:
    """Refuses what is no request of this API, and catches bugs.

    The content is read whole before the app runs: an answer that leaves content unread makes
    hypercorn close the connection, and the reset may overtake the answer. The security fields of
    every answer are the server's (control.py), and those of refusals are the front's.
    """

    app: ASGIApp
    node: Node

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            self.node.metrics.control_requests[status_class(400)] += 1
            await _refuse_websocket(receive, send)
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.node.metrics.control_requests[status_class(message["status"])] += 1
                message["headers"] = [*message.get("headers", ()), *self._strict(scope)]
            await send(message)

        try:
            await self._serve(scope, receive, send_marked)
        except AdmissionError as error:
            answer = await refused(Request(scope), error)
            await answer(scope, receive, send_marked)
        except Exception:
            logger.exception("request failed", extra={"path": scope["path"]})
            if not started:
                answer = error_response(
                    500, "internal_error", "the server failed; its log has the reason"
                )
                await answer(scope, receive, send_marked)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] not in _METHODS:
            raise AdmissionError(
                405,
                "method_not_allowed",
                "this method is not known here",
                fields=((b"Allow", b"GET, HEAD, POST, DELETE, OPTIONS"),),
            )
        # RFC 9112 §3.2.2: a server takes the absolute-form, too.
        raw_path: bytes = scope["raw_path"]
        if form := _ABSOLUTE_FORM.match(raw_path):
            raw_path = raw_path[form.end() :] or b"/"
            scope["path"] = unquote(raw_path.decode("ascii"))
        content = await _read_content(receive)
        if _ENCODED_SEPARATOR.search(raw_path):
            raise AdmissionError(404, "not_found", "there is nothing at this path")
        if content is not None:
            await self.app(scope, _replay(content, receive), send)

    def _strict(self, scope: Scope) -> Fields:
        peer: str = scope["client"][0] if scope.get("client") else ""
        received: Fields = tuple((bytes(name), bytes(value)) for name, value in scope["headers"])
        return self.node.strict_fields(peer, received)


async def _refuse_websocket(receive: Receive, send: Send) -> None:
    await receive()  # the connect event; ASGI wants it taken first
    answer = error_response(400, "websocket_refused", "no WebSocket opens here")
    start = {"status": answer.status_code, "headers": answer.raw_headers}
    await send({"type": "websocket.http.response.start", **start})
    await send({"type": "websocket.http.response.body", "body": bytes(answer.body)})


async def _read_content(receive: Receive) -> bytes | None:
    """Return the content, which the front has bounded; None if the daemon's own end left."""
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replay(content: bytes, receive: Receive) -> Receive:
    """Return a receive that gives the content once, then whatever comes (a disconnect)."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": content, "more_body": False}

    return replay

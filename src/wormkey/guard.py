"""What every request of the control plane passes before its call, and the shape of every error.

Owns the bound on content, the refusal of HTTP/2 and odd methods, Bearer and JSON reading, the
security fields, and the boundary where a bug becomes a 500. Knows nothing of sessions.
"""

from __future__ import annotations

import json
import logging
import re
from typing import TYPE_CHECKING, Final

import trio
from attrs import define
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from wormkey.errors import AdmissionError
from wormkey.metrics import Metrics, status_class

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.datastructures import Headers
    from starlette.types import Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

MAX_CONTENT_BYTES: Final = 64 * 1024
# What is over the cap is read and dropped up to here, so that the answer is not lost to a reset.
MAX_DRAINED_BYTES: Final = 1024 * 1024
CONTENT_TIMEOUT_S: Final = 30.0  # for the whole content: 64 KiB take a modem that long
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "DELETE", "OPTIONS"})
_BEARER = re.compile(r"bearer +([A-Za-z0-9._~+/-]{1,512}=*)[ \t]*\Z", re.ASCII | re.IGNORECASE)
_ABSOLUTE_FORM = re.compile(r"https?://[^/]*", re.ASCII | re.IGNORECASE)
_SECURITY_FIELDS: Final = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
)


def bearer_of(fields: Headers) -> bytes | None:
    """Return the Bearer token (RFC 6750 §2.1); None where there is none, or more than one."""
    values = fields.getlist("authorization")
    match = _BEARER.match(values[0]) if len(values) == 1 else None
    return None if match is None else match[1].encode("ascii")


async def read_json(request: Request) -> object:
    """Return the request's JSON content.

    Raises:
        AdmissionError: 415 for another content type, 400 for what is not JSON (RFC 8259).
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in {"", "application/json"}:
        raise AdmissionError(415, "unsupported_media_type", "Content-Type must be application/json")
    content = await request.body()
    try:
        document: object = json.loads(content, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        raise AdmissionError(400, "invalid_json", "the content is not valid JSON") from None
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


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


async def not_routed(_request: Request, error: Exception) -> Response:
    """Answer what the router has no call for: 405 or 404."""
    if not isinstance(error, HTTPException):
        raise error
    if error.status_code == 405:
        return error_response(
            405, "method_not_allowed", "this path takes other methods", error.headers
        )
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
class Guard:
    """The outermost layer: refuses what is no request of this API, bounds content, catches bugs.

    The content is read whole before the app runs: an answer that leaves content unread makes
    hypercorn close the connection, and the reset may overtake the answer.
    """

    app: ASGIApp
    metrics: Metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                self.metrics.control_requests[status_class(message["status"])] += 1
                message["headers"] = [*message.get("headers", ()), *_SECURITY_FIELDS]
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
        # hypercorn switches plain connections to HTTP/2 by itself; behind a proxy that is a way
        # to smuggle requests past it.
        if scope["http_version"] not in {"1.0", "1.1"}:
            raise AdmissionError(505, "version_not_supported", "only HTTP/1.1 is spoken here")
        if scope["method"] not in _METHODS:
            raise AdmissionError(
                405,
                "method_not_allowed",
                "this method is not known here",
                fields=((b"Allow", b"GET, HEAD, POST, DELETE, OPTIONS"),),
            )
        # RFC 9112 §3.2.2: a server takes the absolute-form, too.
        scope["path"] = _ABSOLUTE_FORM.sub("", scope["path"], count=1) or "/"
        content = await _read_content(receive)
        if content is not None:
            await self.app(scope, _replay(content, receive), send)


async def _read_content(receive: Receive) -> bytes | None:
    """Return the content, counted while it is read; None if the peer left.

    Raises:
        AdmissionError: 413 over MAX_CONTENT_BYTES, 408 if it takes over CONTENT_TIMEOUT_S.
    """
    pieces: list[bytes] = []
    size = 0
    with trio.move_on_after(CONTENT_TIMEOUT_S):
        while size <= MAX_DRAINED_BYTES:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size <= MAX_CONTENT_BYTES:
                pieces.append(piece)
            if not message.get("more_body", False):
                break
        if size > MAX_CONTENT_BYTES:
            limit = f"content may be at most {MAX_CONTENT_BYTES} bytes"
            raise AdmissionError(413, "content_too_large", limit)
        return b"".join(pieces)
    raise AdmissionError(408, "request_timeout", "the content did not arrive in time")


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

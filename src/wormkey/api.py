"""One call of the control plane's JSON API: dial, send, read one answer, hang up.

A connection serves one call: a client makes two or three in its life, so a pool would only hold
memory. Redirects are reported and never followed, because a token must not travel to a place the
user did not name. What an answer means for the user is expose.py's affair.
"""

from __future__ import annotations

import json
import ssl
from typing import Final
from urllib.parse import urlsplit

import trio
from attrs import field, frozen

from wormkey import __version__, fields
from wormkey.dialer import secure
from wormkey.errors import OriginError, WormkeyError
from wormkey.frames import Fields
from wormkey.http1 import Http1Limits
from wormkey.http1_origin import OriginConnection

CALL_TIMEOUT_S: Final = 10.0  # dial, TLS, question and answer together
MAX_ANSWER_BYTES: Final = 1024 * 1024  # a session is under 2 KiB; whatever is longer is no answer
MAX_RETRY_AFTER_S: Final = 3600.0

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class ApiUnreachable(WormkeyError):
    """No answer of a control plane came; the message names the URL and the reason."""


class AnswerTooLongError(WormkeyError):
    """An answer went on beyond MAX_ANSWER_BYTES: it is no answer of a control plane."""


@frozen
class ApiAnswer:
    """What the control plane answered; ``json`` is None where the content was not JSON."""

    status: int
    fields: Fields
    json: object = field(default=None)

    @property
    def ok(self) -> bool:
        """Whether the call was done (2xx)."""
        return 200 <= self.status < 300

    @property
    def code(self) -> str:
        """The error's code, such as ``name_taken``; empty where the answer has none."""
        return self.text("code")

    @property
    def error(self) -> str:
        """The server's sentence about what is wrong; untrusted text, empty where there is none."""
        return self.text("error")

    @property
    def retry_after_s(self) -> float | None:
        """Seconds that Retry-After asks to wait (RFC 9110 §10.2.3), its date form left out."""
        values = fields.get(self.fields, b"retry-after")
        if len(values) == 1 and values[0].isdigit():
            return min(float(values[0]), MAX_RETRY_AFTER_S)
        return None

    def text(self, member: str) -> str:
        """Return a string member of the answer's object; empty where it is absent or no string."""
        value = self.json.get(member) if isinstance(self.json, dict) else None
        return value if isinstance(value, str) else ""


async def call(
    base_url: str, method: str, path: str, *, token: str | None = None, body: object = None
) -> ApiAnswer:
    """Return the answer to one request; ``body`` goes as JSON, ``token`` as a bearer token.

    ``base_url`` is ``http(s)://host[:port]`` as values.url_parser returns it. The certificate of
    an https one is verified against the system's authorities (and SSL_CERT_FILE).

    Raises:
        ApiUnreachable: nothing listens there, TLS failed, the answer is not HTTP or too long, or
            none came within CALL_TIMEOUT_S.

    Cancellation: drops the connection; whether the server acted on the request is then unknown.
    """
    try:
        with trio.fail_after(CALL_TIMEOUT_S):
            return await _exchange(base_url, method, path, token, body)
    except trio.TooSlowError:
        reason = f"no answer within {CALL_TIMEOUT_S:.0f} s"
    except (OSError, trio.BrokenResourceError) as error:
        reason = _reason_of(error)
    except AnswerTooLongError as error:
        reason = str(error)
    except OriginError as error:  # written for apps: of its sentence only the cause fits here
        cause = error.__cause__
        reason = "its answer is not HTTP, or cut short" if cause is None else _reason_of(cause)
    raise ApiUnreachable(f"no control plane at {base_url}: {reason}")


async def _exchange(
    base_url: str, method: str, path: str, token: str | None, body: object
) -> ApiAnswer:
    url = urlsplit(base_url)
    host = url.hostname or ""
    stream = await _dial(url.scheme, host, url.port or _DEFAULT_PORTS[url.scheme])
    return await converse(stream, url.netloc, method, path, token=token, body=body)


async def converse(
    stream: trio.abc.Stream,
    authority: str,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: object = None,
) -> ApiAnswer:
    """Return the answer to one request on ``stream``, which is closed whatever happens.

    The caller has the deadline.

    Raises:
        AnswerTooLongError: it is over MAX_ANSWER_BYTES.
        OriginError: it is not HTTP, or cut short.
        trio.BrokenResourceError: the connection broke.

    Cancellation: drops the connection; whether the server acted on the request is then unknown.
    """
    connection = OriginConnection(stream, Http1Limits())
    try:
        content = b"" if body is None else json.dumps(body).encode("utf-8")
        connection.write_request(
            method.encode("ascii"),
            path.encode("ascii"),
            _request_fields(authority, token, content),
            content_length=len(content) if content else None,
            has_content=bool(content),
        )
        if content:
            connection.write_content(content)
        connection.write_end()
        await connection.flush()
        head = await connection.receive_head()
        while head.interim:
            head = await connection.receive_head()
        answer = bytearray()
        while data := await connection.receive_content():
            answer += data
            if len(answer) > MAX_ANSWER_BYTES:
                raise AnswerTooLongError(f"its answer is over {MAX_ANSWER_BYTES} bytes")
        return ApiAnswer(head.status, head.fields, _parse_json(bytes(answer)))
    finally:
        # Nothing is owed to the peer after its answer, and a closing handshake could hang.
        await connection.aclose()  # forceful: it never waits


async def _dial(scheme: str, host: str, port: int) -> trio.abc.Stream:
    """Return a connected stream, the TLS handshake done for https."""
    stream: trio.SocketStream = await trio.open_tcp_stream(host, port)
    if scheme != "https":
        return stream
    # Loading the authorities costs 10 ms and 5 MB: only https pays it.
    return await secure(stream, ssl.create_default_context(), host)


def _request_fields(authority: str, token: str | None, content: bytes) -> Fields:
    lines = [
        (b"Host", authority.encode("ascii")),
        (b"User-Agent", f"wormkey/{__version__}".encode("ascii")),
        (b"Accept", b"application/json"),
        (b"Connection", b"close"),
    ]
    if token is not None:
        lines.append((b"Authorization", b"Bearer " + token.encode("ascii")))
    if content:
        lines.append((b"Content-Type", b"application/json"))
    return tuple(lines)


def _parse_json(content: bytes) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):  # a hostile answer may nest as deep as it is long
        return None


def _reason_of(error: BaseException) -> str:
    """Return what the innermost error says that a user can act on."""
    inner: BaseException | None = error
    while inner is not None:
        error = inner
        inner = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or 'the connection broke'}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return "the connection broke"

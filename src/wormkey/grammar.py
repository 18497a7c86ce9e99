"""HTTP/1.1's grammar, read strictly: what a head may look like before anything acts on it.

Stands above h11, which lets pass what two parsers can read in two ways (bare line feeds, folded
lines, controls, both Content-Length and Transfer-Encoding, any version, any target form). There
is one mode, no switch: what an intermediary could misread is refused. Knows nothing of
connections, routes or sizes in bytes; those are http1.py's and routing.py's (RFC 9110, RFC 9112).
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from wormkey.errors import AdmissionError, ErrorCode, OriginError, RemoteProtocolError
from wormkey.frames import MAX_FIELDS

if TYPE_CHECKING:
    from wormkey.frames import Fields, RequestHead, ResponseHead

MAX_METHOD_BYTES: Final = 64  # the longest registered one, UPDATEREDIRECTREF, has 17
MAX_REQUEST_FIELDS: Final = MAX_FIELDS - 8  # the gateway adds its own before the tunnel
MAX_AUTHORITY_BYTES: Final = 259  # a name of 253 (RFC 1035 §2.3.4), a colon and a port
MAX_AUTHORITIES: Final = 64  # that are remembered: each request's is asked for three times
MAX_LENGTH_DIGITS: Final = 18  # more octets than any store holds, still below 2**63

_TOKEN: Final = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]"  # RFC 9110 §5.6.2
_TEXT: Final = rb"[\t -~\x80-\xff]"  # SP, HTAB, VCHAR and obs-text: no other control, no DEL
# Single sets are possessive, groups are not: CPython before 3.11.5 gets those wrong (gh-106052).
_LINES: Final = rb"((?:\r\n" + _TOKEN + rb"++:" + _TEXT + rb"*+)*\r\n)\r\n"

_REQUEST: Final = re.compile(
    rb"(" + _TOKEN + rb"{1,%d}+) ([!\"$-~]++) HTTP/1\.([0-9])" % MAX_METHOD_BYTES + _LINES
)
_RESPONSE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: (" + _TEXT + rb"*+))?" + _LINES)
_DECISIVE: Final = re.compile(
    rb"\n(host|connection|content-length|transfer-encoding|expect):[ \t]*+([^\r]*)", re.IGNORECASE
)
_UNDISPUTED: Final = frozenset({b"host", b"connection"})  # they say nothing about content
_HEAD_END: Final = re.compile(rb"\n\r?\n")
_BARE: Final = re.compile(rb"\r(?!\n)|(?<!\r)\n")

_TOKEN_ONLY: Final = re.compile(_TOKEN + rb"+")
_METHOD: Final = re.compile(_TOKEN + rb"{1,%d}" % MAX_METHOD_BYTES)
_VALUE_ONLY: Final = re.compile(rb"(?![ \t])" + _TEXT + rb"*+(?<![ \t])")
_REASON: Final = re.compile(_TEXT + rb"*+")  # RFC 9112 §4: blanks may stand at its ends
_FIELD_PAIRS: Final = re.compile(
    rb"(?:" + _TOKEN + rb"++\x00(?![ \t])" + _TEXT + rb"*+(?<![ \t])\x00)*"
)
_TARGET: Final = re.compile(rb"/[!\"$-~]*+")
_ABSOLUTE: Final = re.compile(rb"(?i:https?)://([^/?]*)[!\"$-~]*+")
_AUTHORITY: Final = re.compile(
    rb"(?:([0-9A-Za-z._-]{1,253})|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]{0,5}))?"
)
_LENGTH: Final = re.compile(rb"[0-9]{1,%d}" % MAX_LENGTH_DIGITS)
_VERSION: Final = re.compile(rb"HTTP/[0-9](?:\.[0-9])?")
_PROTOCOLS: Final = re.compile(
    _TOKEN + rb"+(?:/" + _TOKEN + rb"+)?(?:, " + _TOKEN + rb"+(?:/" + _TOKEN + rb"+)?)*"
)

_TARGET_OCTETS: Final = bytes(octet for octet in range(0x21, 0x7F) if octet != 0x23)

# The fields that decide where a message ends, whom it is for and what happens to its connection:
# name in lower case, value without outer blanks, in order.
Decisive: TypeAlias = list[tuple[bytes, bytes]]
# Method, target, minor version and field lines, from the first one's line break to the last one's.
RequestParts: TypeAlias = tuple[bytes, bytes, bytes, bytes, Decisive]
# Minor version, status, reason (None: not even its blank) and field lines.
ResponseParts: TypeAlias = tuple[bytes, bytes, bytes | None, bytes, Decisive]

_Fault: TypeAlias = tuple[int, str]  # status for a viewer, what is wrong

_BARE_SENTENCE: Final = "it has a carriage return or line feed that does not end a line"
_CODES: Final = {
    400: "bad_request",
    417: "expectation_failed",
    431: "head_too_large",
    501: "not_implemented",
    505: "version_not_supported",
}


def find_head_end(data: bytes | bytearray, start: int = 0) -> int:
    """Return the index after the empty line that ends a head, -1 while there is none.

    Line feeds without their carriage return count as well, so that a faulty head is refused at
    once instead of being waited for; ``start`` may be three bytes before the newest data.
    """
    found = _HEAD_END.search(data, start)
    return found.end() if found else -1


def check_request_head(raw: bytes) -> RequestParts:
    """Accept one whole request head, empty line included, as RFC 9112 writes it and no other way.

    Raises:
        AdmissionError: 400, 417, 431, 501 or 505 with a sentence for whoever sent it. The
            connection cannot be used afterwards.
    """
    head = _REQUEST.fullmatch(raw)
    if head is None:
        raise _refusal(*_request_fault(raw))
    method, target, minor, lines = head.groups()
    if lines.count(b"\n") - 1 > MAX_REQUEST_FIELDS:
        raise _refusal(431, f"it has more than {MAX_REQUEST_FIELDS} fields")
    if method in (b"CONNECT", b"TRACE"):
        raise _refusal(501, f"the method {method.decode()} is not served here")
    decisive = _decisive_in(lines)
    fault = (
        (None if target[0] == 0x2F else _target_fault(method, target))
        or _host_fault(decisive, optional=minor == b"0")
        or _framing_fault(decisive, minor)
        or (None if minor == b"0" else _expectation_fault(decisive))
    )
    if fault:
        raise _refusal(*fault)
    return method, target, minor, lines, decisive


def check_response_head(raw: bytes) -> ResponseParts:
    """Accept one whole response head of an origin, empty line included; as strict as for requests.

    Raises:
        OriginError: ORIGIN_FAILED with a sentence that names what broke. The connection to the
            origin cannot be used afterwards.
    """
    head = _RESPONSE.fullmatch(raw)
    if head is None:
        raise _failure(_response_fault(raw))
    minor, status, reason, lines = head.groups()
    if lines.count(b"\n") - 1 > MAX_FIELDS:
        raise _failure(f"it has more than {MAX_FIELDS} fields")
    decisive = _decisive_in(lines)
    fault = _framing_fault(decisive, minor)
    if fault:
        raise _failure(fault[1])
    return minor, status, reason, lines, decisive


def check_head_fields(fields: Fields) -> None:
    """Accept fields that came through a tunnel: token names, clean values, one Content-Length.

    Raises:
        RemoteProtocolError: the peer sent what would not survive being written as HTTP/1.1.
    """
    if len(fields) > MAX_FIELDS:
        raise RemoteProtocolError(f"over {MAX_FIELDS} fields")
    # One pass at C speed: a NUL joins the parts, which neither a name nor a value may hold.
    joined = b"\0".join([*chain.from_iterable(fields), b""])
    if joined.count(b"\0") != 2 * len(fields) or not _FIELD_PAIRS.fullmatch(joined):
        raise RemoteProtocolError("a field name or value off the grammar of HTTP")
    lengths = [value for name, value in fields if len(name) == 14 and _is_length(name)]
    if len(lengths) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0])):
        raise RemoteProtocolError("a Content-Length that is repeated or no number")


def check_tunnel_request(head: RequestHead) -> None:
    """Accept a request head that came through a tunnel: the client's guard before its origin.

    Raises:
        RemoteProtocolError: a method, target, upgrade or field off the grammar.
    """
    if not _METHOD.fullmatch(head.method) or head.method in (b"CONNECT", b"TRACE"):
        raise RemoteProtocolError("a method that cannot be forwarded")
    if not _TARGET.fullmatch(head.target):
        raise RemoteProtocolError("a target that is not in origin-form")
    _check_upgrade(head.upgrade)
    check_head_fields(head.fields)


def check_tunnel_response(head: ResponseHead) -> None:
    """Accept a response head that came through a tunnel: the gateway's guard before a viewer.

    Raises:
        RemoteProtocolError: a status, reason, upgrade or field off the grammar.
    """
    if not 100 <= head.status <= 999 or not _REASON.fullmatch(head.reason):
        raise RemoteProtocolError("a status or reason off the grammar of HTTP")
    _check_upgrade(head.upgrade)
    check_head_fields(head.fields)


def is_token(value: bytes) -> bool:
    """Tell whether ``value`` is a token: a method, a field name, a protocol (RFC 9110 §5.6.2)."""
    return _TOKEN_ONLY.fullmatch(value) is not None


def is_field_value(value: bytes) -> bool:
    """Tell whether ``value`` can stand in a field line as it is: no controls, no outer blanks."""
    return _VALUE_ONLY.fullmatch(value) is not None


def is_target(value: bytes) -> bool:
    """Tell whether ``value`` is an origin-form target, the only form that enters a tunnel.

    Visible ASCII without ``#``: wider than RFC 3986's path and query, because browsers send
    ``|``, ``{`` or ``"`` as they are, and they must pass untouched.
    """
    return _TARGET.fullmatch(value) is not None


def is_authority(value: bytes) -> bool:
    """Tell whether ``value`` is ``host``, ``host:port`` or the same with an IPv6 literal.

    Narrower than RFC 3986: no user information, no percent-encoding, no lists, no zone ids.
    """
    return split_authority(value) is not None


def split_authority(value: bytes) -> tuple[bytes, int | None] | None:
    """Return a valid authority's host as it is spelled and its port (None: not given).

    An IPv6 literal keeps its brackets. None stands for an invalid authority.
    """
    return _split_authority(value) if len(value) <= MAX_AUTHORITY_BYTES else None


@lru_cache(maxsize=MAX_AUTHORITIES)
def _split_authority(value: bytes) -> tuple[bytes, int | None] | None:
    found = _AUTHORITY.fullmatch(value)
    if found is None:
        return None
    name, literal, digits = found.groups()
    port = int(digits) if digits else None
    if port is not None and port > 65535:
        return None
    if name is not None:
        return name, port
    try:
        ipaddress.IPv6Address(literal.decode())
    except ValueError:
        return None
    return b"[" + literal + b"]", port


def _check_upgrade(upgrade: bytes) -> None:
    if upgrade and not _PROTOCOLS.fullmatch(upgrade):
        raise RemoteProtocolError("an upgrade protocol off the grammar of HTTP")


def _is_length(name: bytes) -> bool:
    return name.lower() == b"content-length"


def _refusal(status: int, reason: str) -> AdmissionError:
    return AdmissionError(status, _CODES[status], f"The request cannot be served: {reason}.")


def _failure(reason: str) -> OriginError:
    sentence = f"The local app's answer is not valid HTTP: {reason}."
    return OriginError(ErrorCode.ORIGIN_FAILED, sentence)


def _decisive_in(lines: bytes) -> Decisive:
    return [(name.lower(), value.rstrip(b" \t")) for name, value in _DECISIVE.findall(lines)]


def _target_fault(method: bytes, target: bytes) -> _Fault | None:
    """Judge a target that does not begin with a slash (RFC 9112 §3.2)."""
    if target == b"*":
        return None if method == b"OPTIONS" else (400, "the target * is for OPTIONS only")
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return 400, "its target is neither a path nor an http or https URL"
    if not is_authority(absolute.group(1)):
        return 400, "the URL in its target names no valid host"
    return None


def _host_fault(decisive: Decisive, *, optional: bool) -> _Fault | None:
    """Judge the Host field (RFC 9112 §3.2): exactly one and valid; HTTP/1.0 may leave it out."""
    hosts = [value for name, value in decisive if name == b"host"]
    if not hosts:
        return None if optional else (400, "it has no Host field")
    if len(hosts) > 1:
        return 400, "it has more than one Host field"
    if not is_authority(hosts[0]):
        return 400, "its Host field names no valid host"
    return None


def _framing_fault(decisive: Decisive, minor: bytes) -> _Fault | None:
    """Judge how the content's end is told (RFC 9112 §6): one way, which no two parsers dispute."""
    framing = [pair for pair in decisive if pair[0] not in _UNDISPUTED]
    if not framing:
        return None
    lengths = [value for name, value in framing if name == b"content-length"]
    codings = [value.lower() for name, value in framing if name == b"transfer-encoding"]
    if lengths and codings:
        return 400, "it has both Content-Length and Transfer-Encoding"
    if len(lengths) > 1:
        return 400, "it has more than one Content-Length"
    if lengths and not _LENGTH.fullmatch(lengths[0]):
        return 400, "its Content-Length is not a plain number"
    if not codings or (codings == [b"chunked"] and minor != b"0"):
        return None
    if minor == b"0":
        return 400, "Transfer-Encoding does not exist in HTTP/1.0"
    names = [part.strip(b" \t") for part in b",".join(codings).split(b",")]
    if b"chunked" in names[:-1] or not all(map(is_token, names)):
        return 400, "its Transfer-Encoding is not exactly one chunked"
    return 501, "it has a transfer coding other than chunked"


def _expectation_fault(decisive: Decisive) -> _Fault | None:
    """Judge Expect (RFC 9110 §10.1.1), which knows one value; HTTP/1.0 ignores the field."""
    for name, value in decisive:
        if name == b"expect" and value.lower() != b"100-continue":
            return 417, "it expects something other than 100-continue"
    return None


def _request_fault(raw: bytes) -> _Fault:
    """Find the sentence for a head that the grammar refused; off the hot path."""
    line, _, rest = raw.partition(b"\r\n")
    method, _, tail = line.partition(b" ")
    target, _, version = tail.rpartition(b" ")
    if len(method) > MAX_METHOD_BYTES and is_token(method):
        return 501, f"its method is longer than {MAX_METHOD_BYTES} octets"
    if _BARE.search(raw):
        return 400, _BARE_SENTENCE
    if not is_token(method):
        return 400, "its method is not a token"
    if not _VERSION.fullmatch(version):
        return 400, "its first line is not a method, a target and a version"
    if not version.startswith(b"HTTP/1."):
        return 505, "its version is not HTTP/1.1 or HTTP/1.0"
    if not target or target.translate(None, _TARGET_OCTETS):
        return 400, "its target has blanks, controls, # or octets outside ASCII"
    return 400, _lines_fault(rest)


def _response_fault(raw: bytes) -> str:
    """Find what is wrong with an answer that the grammar refused; off the hot path."""
    line, _, rest = raw.partition(b"\r\n")
    if _BARE.search(raw):
        return _BARE_SENTENCE
    if not _RESPONSE.fullmatch(line + b"\r\n\r\n"):
        return "its first line is not a version, a status and a reason"
    return _lines_fault(rest)


def _lines_fault(rest: bytes) -> str:
    """Find what is wrong with the field lines, each of which is known to end in CRLF."""
    if not rest.endswith(b"\r\n\r\n") and rest != b"\r\n":
        return "it does not end with an empty line"
    for line in rest[:-4].split(b"\r\n"):
        name, colon, _ = line.partition(b":")
        if line[:1] in (b" ", b"\t"):
            return "it has a folded field line"
        if not colon:
            return "it has a field line without a colon"
        if name.endswith((b" ", b"\t")):
            return "it has a blank between a field name and its colon"
        if not is_token(name):
            return "it has a field name that is not a token"
    return "it has a control character in a field value"

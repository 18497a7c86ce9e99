"""The owner's control bar in his own pages: which answers get it, and what changes in them.

One script tag is put into an HTML document while it streams (markup.py finds the place, codings.py
takes gzip and br off, csp.py lets the tag past the page's policy). Who the owner is, and when a
page is his, is decided elsewhere; randomness comes in as an argument.

A page with the bar goes out without a content coding. It is one reader's, and HTML: to code it
anew would cost a compressor's memory, its time, and a flush for each piece lest a streamed page
stand still. It also goes out without a length, because a page that ends in a comment gets no tag.
Its content then ends by chunks, so what its own length promised is held here.
"""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote_from_bytes

from attrs import define, evolve, field, frozen

from wormkey import csp
from wormkey.codings import DECODERS, Decoder
from wormkey.errors import ErrorCode, StreamError
from wormkey.fields import content_length, get
from wormkey.frames import RequestHead, ResponseHead
from wormkey.markup import HeadInserter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wormkey.frames import Fields

SCRIPT_PATH: Final = b"/.wormkey/overlay.js"
FRAME_PATH: Final = b"/.wormkey/bar"
NONCE_BYTES: Final = 16
MAX_DECODERS: Final = 4  # for each session: a br page may hold its window, up to 16 MiB

_HTML: Final = b"text/html"
# Those whose "<", ">", quotes, "=" and "-" are always ASCII's: not UTF-16, UTF-7, ISO-2022.
_CHARSETS: Final = re.compile(
    rb"utf-?8|(?:us-)?ascii|iso-?8859-?\d{1,2}(?:-[ei])?|latin-?\d|(?:windows|cp)-?(?:125\d|874)"
    rb"|koi8-[ru]|macintosh|euc-(?:jp|kr)|shift[_-]jis|sjis|gbk?|gb2312|gb18030|big5(?:-hkscs)?|",
    re.IGNORECASE,
)
_CHARSET: Final = re.compile(rb';[ \t]*charset=[ \t]*"?([^";, \t]*)', re.IGNORECASE)
_LISTED: Final = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"?)+')  # between the commas of a list
_POLICIES: Final = frozenset({b"content-security-policy", b"content-security-policy-report-only"})
# What an unchanged copy in a cache would be compared with, and the copy has changed.
_CONDITIONS: Final = frozenset({b"if-modified-since", b"if-none-match", b"available-dictionary"})
# Digests and signatures of what the page was before; ranges of it.
_OF_THE_CONTENT: Final = frozenset(
    {
        *(b"content-digest", b"content-md5", b"digest", b"repr-digest", b"unencoded-digest"),
        *(b"accept-ranges", b"signature", b"signature-input"),
    }
)
# A shared cache would heed these before Cache-Control (RFC 9213).
_FOR_SHARED_CACHES: Final = re.compile(rb"surrogate-control|(?:.*-)?cdn-cache-control")
_SHARED: Final = frozenset({b"public", b"private", b"s-maxage", b"proxy-revalidate"})


@define(eq=False)
class Decoding:
    """How many of one session's pages are being decoded just now."""

    pages: int = 0


@frozen(kw_only=True)
class Bar:
    """What to bring in: whose bar, and the base host's authority as this viewer may name it.

    ``random`` is NONCE_BYTES fresh bytes. ``integrity`` is the script's, for pages that load no
    script without one. ``decoders`` counts the session's pages that are being decoded just now.
    """

    slug: str
    authority: bytes
    random: bytes = field(repr=False)
    integrity: bytes = b""
    decoders: int = 0


@define(eq=False)
class Insertion:
    """One answer on its way: ``head`` as the viewer shall see it, and its content."""

    head: ResponseHead
    _inserter: HeadInserter
    _decoder: Decoder | None
    _due: int | None  # octets of the length that the app promised

    @property
    def decodes(self) -> bool:
        """Whether it holds a decoder, which counts toward MAX_DECODERS."""
        return self._decoder is not None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield what may go on, in pieces of some 100 KiB at most beyond ``data``'s own size.

        Nothing happens before the first piece is asked for, and all must be.

        Raises:
            StreamError: ORIGIN_FAILED, the coding is broken; PROTOCOL_ERROR, the content is
                longer than its Content-Length.
        """
        if self._due is not None:
            self._due -= len(data)
            if self._due < 0:
                raise _off("longer")
        for piece in (data,) if self._decoder is None else self._decoder.feed(data):
            moved = self._inserter.push(piece)
            if moved:
                yield moved

    def end(self) -> bytes:
        """Return what is left to send, now that the app has ended its content.

        Raises:
            StreamError: ORIGIN_FAILED, the coding has not ended; PROTOCOL_ERROR, the content is
                shorter than its Content-Length. The answer must be cut.
        """
        if self._due:
            raise _off("shorter")
        if self._decoder is not None:
            self._decoder.end()
        return self._inserter.end()


def without_digests(trailers: Fields) -> Fields:
    """Return a changed page's trailers that still hold."""
    return tuple([pair for pair in trailers if pair[0].lower() not in _OF_THE_CONTENT])


def wants_bar(request: RequestHead) -> bool:
    """Tell whether a browser asks for a document to show in a tab of its own.

    Sec-Fetch-Dest says so where browsers send it: on https and localhost. Elsewhere Accept must
    name HTML, which frames' documents do as well.
    """
    if request.method not in (b"GET", b"POST") or request.upgrade or get(request.fields, b"range"):
        return False
    destinations = get(request.fields, b"sec-fetch-dest")
    if destinations:
        return destinations == [b"document"]
    wanted = b",".join(get(request.fields, b"accept")).lower().split(b",")
    scripted = b",".join(get(request.fields, b"x-requested-with")).lower()
    return (
        request.method == b"GET"
        and scripted != b"xmlhttprequest"
        and any(each.partition(b";")[0].strip() == _HTML for each in wanted)
    )


def prepare(request: RequestHead) -> RequestHead:
    """Return an owner's request so that its answer can get the bar.

    It asks for a whole page, since one that was kept from before is not what the app has; a 304
    would also renew its fields without our nonce. And it offers no coding that is not known here.
    """
    kept: list[tuple[bytes, bytes]] = []
    codings: list[bytes] = []
    for name, value in request.fields:
        lowered = name.lower()
        if lowered == b"accept-encoding":
            codings += [
                each.strip()
                for each in value.split(b",")
                if each.partition(b";")[0].strip().lower() in DECODERS
            ]
        elif lowered not in _CONDITIONS:
            kept.append((name, value))
    kept.append((b"Accept-Encoding", b", ".join(codings) or b"identity"))
    return evolve(request, fields=tuple(kept))


def plan(request: RequestHead, answer: ResponseHead, bar: Bar) -> Insertion | None:
    """Return how an answer gets the bar; None for one that must pass as it is."""
    coding = _coding_of(answer.fields)
    if not (wants_bar(request) and _is_page(answer)) or coding is None:
        return None
    if coding and bar.decoders >= MAX_DECODERS:
        return None
    policies = get(answer.fields, b"content-security-policy")
    if any(map(csp.forbids, policies)):
        return None
    integrity = bar.integrity if get(answer.fields, b"integrity-policy") else b""
    nonce = base64.b64encode(bar.random)
    head = evolve(answer, fields=_changed(answer.fields, _grant_for(bar, nonce), coding))
    decoder = DECODERS[coding]() if coding else None
    tag = _tag_for(bar, nonce, integrity)
    return Insertion(head, HeadInserter(tag), decoder, content_length(answer.fields))


def _is_page(answer: ResponseHead) -> bool:
    """Tell whether a browser shows this content as a page, and it may be changed."""
    shown = 200 <= answer.status <= 203 or 400 <= answer.status <= 599
    types = get(answer.fields, b"content-type")
    if not shown or len(types) != 1 or content_length(answer.fields) == 0:
        return False
    charset = _CHARSET.search(types[0])
    saved = get(answer.fields, b"content-disposition")
    return (
        types[0].partition(b";")[0].strip().lower() == _HTML
        and (charset is None or _CHARSETS.fullmatch(charset[1]) is not None)
        and all(each.partition(b";")[0].strip().lower() == b"inline" for each in saved)
        and b"no-transform" not in _names(get(answer.fields, b"cache-control"))
    )


def _coding_of(fields: Fields) -> bytes | None:
    """Return the one coding to take off, b"" for none; None for any that cannot be."""
    listed = b",".join(get(fields, b"content-encoding")).lower().split(b",")
    codings = [each.strip() for each in listed if each.strip() not in (b"", b"identity")]
    if not codings:
        return b""
    return codings[0] if len(codings) == 1 and codings[0] in DECODERS else None


def _changed(fields: Fields, granted: csp.Grant, coding: bytes) -> Fields:
    """Return the fields of the page with the bar, which is the owner's alone."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lowered = name.lower()
        if lowered in _POLICIES:
            kept.append((name, csp.grant(value, granted)))
        elif lowered == b"etag":
            kept.append((name, value if value.startswith(b"W/") else b"W/" + value))
        elif not (
            lowered in (b"cache-control", b"content-length")
            or lowered in _OF_THE_CONTENT
            or (coding and lowered == b"content-encoding")
            or _FOR_SHARED_CACHES.fullmatch(lowered)
        ):
            kept.append((name, value))
    kept.append((b"Cache-Control", _private(get(fields, b"cache-control"))))
    varying = _names(get(fields, b"vary"))
    if b"*" not in varying and b"cookie" not in varying:
        kept.append((b"Vary", b"Cookie"))
    return tuple(kept)


def _private(values: list[bytes]) -> bytes:
    """Return a Cache-Control value that keeps shared caches off and the app's other wishes."""
    listed = [each.strip() for each in _LISTED.findall(b",".join(values))]
    kept = [each for each in listed if each and not _SHARED & _names([each])]
    return b", ".join([*kept, b"private"])


def _names(values: list[bytes]) -> set[bytes]:
    """Return the names in lists of ``name`` or ``name=value``, in lower case."""
    listed = _LISTED.findall(b",".join(values))
    return {each.partition(b"=")[0].strip().lower() for each in listed}


def _grant_for(bar: Bar, nonce: bytes) -> csp.Grant:
    """Return what a policy must let in. Sources without a scheme take the page's own.

    A policy cannot name an IPv6 address, and a page at one is on the base host itself.
    """
    site = quote_from_bytes(bar.authority, safe=":").encode()
    nonce = b"'nonce-%b'" % nonce
    if bar.authority.startswith(b"["):
        return csp.Grant(nonce=nonce, script=b"'self'", frame=b"'self'")
    return csp.Grant(nonce=nonce, script=site + SCRIPT_PATH, frame=site + FRAME_PATH)


def _tag_for(bar: Bar, nonce: bytes, integrity: bytes) -> bytes:
    """Return the script tag: by URL, so that every kind of policy can let it in.

    It takes the page's scheme, which a proxy may hide from the daemon; and it waits for nothing,
    nor does the page wait for it.
    """
    site = quote_from_bytes(bar.authority, safe=":[]").encode()
    slug = quote_from_bytes(bar.slug.encode(), safe="").encode()
    checked = b' integrity="%b" crossorigin="anonymous"' % integrity if integrity else b""
    return b'<script src="//%b%b?slug=%b" async nonce="%b"%b></script>' % (
        site,
        SCRIPT_PATH,
        slug,
        nonce,
        checked,
    )


def _off(how: str) -> StreamError:
    sentence = f"the content is {how} than its Content-Length"
    return StreamError(ErrorCode.PROTOCOL_ERROR, sentence)

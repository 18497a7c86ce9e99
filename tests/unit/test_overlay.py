"""overlay.py: which answers get the owner's bar, and all that changes in them."""

from __future__ import annotations

import gzip

import brotli  # type: ignore[import-untyped]
import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from wormkey import overlay
from wormkey.errors import ErrorCode, StreamError
from wormkey.fields import get
from wormkey.frames import Fields, RequestHead, ResponseHead
from wormkey.overlay import MAX_DECODERS, Bar, Insertion

BAR = Bar(slug="quiet-otter-42-k3v9x2ma", authority=b"b.example:8443", random=bytes(16))
NONCE = b"AAAAAAAAAAAAAAAAAAAAAA=="
TAG = (
    b'<script src="//b.example:8443/.wormkey/overlay.js?slug=quiet-otter-42-k3v9x2ma" async '
    b'nonce="AAAAAAAAAAAAAAAAAAAAAA=="></script>'
)
PAGE = b"<!doctype html><html><head><title>x</title></head><body>y</body></html>"
SHOWN = PAGE.replace(b"<head>", b"<head>" + TAG)
BROWSER = ((b"Accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),)
DOCUMENT = (*BROWSER, (b"Sec-Fetch-Dest", b"document"), (b"Sec-Fetch-Mode", b"navigate"))
HTML = ((b"Content-Type", b"text/html; charset=utf-8"),)


def asked(*fields: tuple[bytes, bytes], method: bytes = b"GET") -> RequestHead:
    """A request for a page."""
    return RequestHead(method, b"/", fields)


def planned(
    *fields: tuple[bytes, bytes],
    status: int = 200,
    html: Fields = HTML,
    request: RequestHead | None = None,
    bar: Bar = BAR,
) -> Insertion | None:
    """The plan for an answer to an owner's navigation."""
    answer = ResponseHead(status, html + fields)
    return overlay.plan(request or asked(*DOCUMENT), answer, bar)


def shown(*fields: tuple[bytes, bytes], bar: Bar = BAR) -> Insertion:
    """The plan for an answer that gets the bar."""
    insertion = planned(*fields, bar=bar)
    assert insertion
    return insertion


def content(insertion: Insertion, pieces: list[bytes]) -> bytes:
    """What the viewer gets of content that arrives in these pieces."""
    out = [moved for piece in pieces for moved in insertion.feed(piece)]
    return b"".join([*out, insertion.end()])


# ── which requests ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("request_", "wanted"),
    [
        (asked(*DOCUMENT), True),
        (asked((b"sec-fetch-dest", b"document")), True),
        (asked(*DOCUMENT, method=b"POST"), True),
        (asked(*BROWSER), True),
        (asked((b"Accept", b"TEXT/HTML;q=0.9")), True),
        (asked(*BROWSER, (b"X-Requested-With", b"com.example.browser")), True),
        (asked(*BROWSER, (b"Sec-Fetch-Dest", b"iframe")), False),
        (asked(*BROWSER, (b"Sec-Fetch-Dest", b"frame")), False),
        (asked(*BROWSER, (b"Sec-Fetch-Dest", b"object")), False),
        (asked(*BROWSER, (b"Sec-Fetch-Dest", b"empty"), (b"Sec-Fetch-Mode", b"cors")), False),
        (asked(*DOCUMENT, (b"Sec-Fetch-Dest", b"document")), False),
        (asked(*BROWSER, (b"X-Requested-With", b"XMLHttpRequest")), False),
        (asked(*BROWSER, method=b"POST"), False),
        (asked(*DOCUMENT, method=b"HEAD"), False),
        (asked(*DOCUMENT, method=b"PUT"), False),
        (asked(*DOCUMENT, (b"Range", b"bytes=0-9")), False),
        (asked((b"Accept", b"*/*")), False),
        (asked((b"Accept", b"text/htmlx, application/xhtml+xml")), False),
        (asked(), False),
        (evolve(asked(*DOCUMENT), upgrade=b"websocket"), False),
    ],
)
def test_a_document_for_a_tab_of_its_own_is_wanted(request_: RequestHead, wanted: bool) -> None:
    """A navigation gets the bar; frames, scripts' requests, ranges and HEAD never."""
    assert overlay.wants_bar(request_) is wanted
    assert (planned(request=request_) is not None) is wanted


@pytest.mark.parametrize(
    ("offered", "sent"),
    [
        ([b"gzip, deflate, br, zstd"], b"gzip, br"),
        ([b"zstd, dcb", b"BR;q=0.5 ,x-gzip"], b"BR;q=0.5, x-gzip"),
        ([b"*"], b"identity"),
        ([], b"identity"),
    ],
)
def test_an_owner_asks_for_a_page_that_can_be_changed(offered: list[bytes], sent: bytes) -> None:
    """What a browser kept is not asked about, codings unknown here are not offered."""
    other = ((b"Accept", b"text/html"), (b"If-Match", b'"a"'))
    codings = tuple((b"accept-encoding", each) for each in offered)
    conditions = ((b"If-None-Match", b'W/"a"'), (b"if-modified-since", b"yesterday"))
    prepared = overlay.prepare(asked(*conditions, *codings, *other))
    assert prepared.fields == (*other, (b"Accept-Encoding", sent))
    assert (prepared.method, prepared.target) == (b"GET", b"/")


# ── which answers ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [200, 201, 203, 404, 500, 503])
def test_pages_of_every_kind_get_the_bar(status: int) -> None:
    """The app's own error pages are pages too."""
    assert planned(status=status)


@pytest.mark.parametrize("status", [101, 204, 205, 206, 207, 226, 301, 302, 304, 307, 600])
def test_what_is_no_page_does_not(status: int) -> None:
    """A part, a redirect, or nothing at all has no head."""
    assert not planned(status=status)


@pytest.mark.parametrize(
    ("fields", "gets_it"),
    [
        ([b"text/html"], True),
        ([b'Text/HTML ; Charset="UTF-8"'], True),
        ([b"text/html;charset=iso-8859-15"], True),
        ([b"text/html; charset=Shift_JIS"], True),
        ([b"text/html; charset=windows-1252"], True),
        ([b"text/html; charset="], True),
        ([b"text/html; charset=utf-16le"], False),
        ([b"text/html; charset=iso-2022-jp"], False),
        ([b"text/html; charset=utf-7"], False),
        ([b"text/html; charset=x-unheard-of"], False),
        ([b"text/html, text/html"], False),
        ([b"text/html", b"text/html"], False),
        ([b"application/xhtml+xml"], False),
        ([b"text/plain"], False),
        ([b"application/json"], False),
        ([], False),
    ],
)
def test_only_html_in_a_known_charset_is_touched(fields: list[bytes], gets_it: bool) -> None:
    """A charset in which "<" may be something else is passed by, as is any other type."""
    html = tuple((b"content-type", value) for value in fields)
    assert (planned(html=html) is not None) is gets_it


@pytest.mark.parametrize(
    "field",
    [
        (b"Content-Disposition", b"attachment; filename=a.html"),
        (b"Content-Disposition", b"Attachment"),
        (b"Content-Length", b"0"),
        (b"Cache-Control", b"max-age=1, No-Transform"),
        (b"Content-Encoding", b"zstd"),
        (b"Content-Encoding", b"gzip, br"),
        (b"Content-Encoding", b"deflate"),
        (b"Content-Security-Policy", b"sandbox allow-forms"),
    ],
)
def test_some_pages_pass_as_they_are(field: tuple[bytes, bytes]) -> None:
    """Downloads, empty ones, those that may not be changed or cannot be read, sandboxes."""
    assert not planned(field)


@pytest.mark.parametrize(
    "field",
    [
        (b"Content-Disposition", b"inline; filename=a.html"),
        (b"Content-Encoding", b"identity"),
        (b"Content-Encoding", b""),
        (b"Cache-Control", b'ext="no-transform"'),
        (b"Content-Security-Policy-Report-Only", b"sandbox"),
    ],
)
def test_some_only_look_like_those(field: tuple[bytes, bytes]) -> None:
    """What these fields say does not stand in the way."""
    assert planned(field)


def test_only_so_many_pages_are_decoded_at_once() -> None:
    """Decoders hold windows: beyond the bound a coded page goes without the bar, a plain has it."""
    full = evolve(BAR, decoders=MAX_DECODERS)
    free = evolve(BAR, decoders=MAX_DECODERS - 1)
    coded = (b"Content-Encoding", b"br")
    assert not planned(coded, bar=full)
    assert shown(coded, bar=free).decodes
    assert not shown(bar=full).decodes


# ── the head ────────────────────────────────────────────────────────────────────────────────


def test_the_head_is_true_of_the_page_with_the_bar() -> None:
    """What spoke of the old content goes or weakens; what does not stays in its order."""
    before = (
        (b"Server", b"x"),
        (b"Content-Length", b"75"),
        (b"ETag", b'"a"'),
        (b"Last-Modified", b"yesterday"),
        (b"Accept-Ranges", b"bytes"),
        (b"Content-MD5", b"x"),
        (b"Digest", b"x"),
        (b"Repr-Digest", b"x"),
        (b"Content-Digest", b"x"),
        (b"Signature-Input", b"x"),
        (b"Signature", b"x"),
        (b"Set-Cookie", b"a=b"),
        (b"Set-Cookie", b"c=d"),
    )
    head = shown(*before).head
    assert head.status == 200
    assert head.fields == (
        *HTML,
        (b"Server", b"x"),
        (b"ETag", b'W/"a"'),
        (b"Last-Modified", b"yesterday"),
        (b"Set-Cookie", b"a=b"),
        (b"Set-Cookie", b"c=d"),
        (b"Cache-Control", b"private"),
        (b"Vary", b"Cookie"),
    )


def test_a_weak_etag_stays() -> None:
    """It says already that octets may differ."""
    assert get(shown((b"ETag", b'W/"a"')).head.fields, b"etag") == [b'W/"a"']


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([b"public, max-age=60"], b"max-age=60, private"),
        ([b"Public", b"S-MaxAge=9, must-revalidate"], b"must-revalidate, private"),
        ([b"no-store"], b"no-store, private"),
        ([b'private="set-cookie, x", ,max-age=0'], b"max-age=0, private"),
        ([b'ext="a, public"'], b'ext="a, public", private'),
    ],
)
def test_no_shared_cache_keeps_the_owners_page(before: list[bytes], after: bytes) -> None:
    """The owner's browser may keep it as the app wished; a cache for many may not."""
    head = shown(*[(b"cache-control", value) for value in before]).head
    assert get(head.fields, b"cache-control") == [after]


@pytest.mark.parametrize(
    "name", [b"Surrogate-Control", b"CDN-Cache-Control", b"Cloudflare-CDN-Cache-Control"]
)
def test_a_cdn_is_not_told_otherwise(name: bytes) -> None:
    """What would overrule Cache-Control on the way is not sent."""
    assert get(shown((name, b"max-age=60")).head.fields, name.lower()) == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([b"Accept-Encoding"], [b"Accept-Encoding", b"Cookie"]),
        ([b"*"], [b"*"]),
        ([b"Origin", b"x, COOKIE"], [b"Origin", b"x, COOKIE"]),
    ],
)
def test_the_page_varies_by_cookie(before: list[bytes], after: list[bytes]) -> None:
    """Who is not the owner any more shall not be shown a copy."""
    assert get(shown(*[(b"vary", each) for each in before]).head.fields, b"vary") == after


def test_each_policy_of_the_page_lets_the_tag_in() -> None:
    """Every field of both kinds, by the nonce of the tag and the frame's URL."""
    head = shown(
        (b"Content-Security-Policy", b"script-src 'self'"),
        (b"content-security-policy", b"frame-src 'none'"),
        (b"Content-Security-Policy-Report-Only", b"script-src 'unsafe-inline'"),
    ).head
    assert get(head.fields, b"content-security-policy") == [
        b"script-src 'self'; script-src-elem 'self' 'nonce-%b'" % NONCE,
        b" frame-src b.example:8443/.wormkey/bar",
    ]
    assert get(head.fields, b"content-security-policy-report-only") == [
        b"script-src 'unsafe-inline'"
        b"; script-src-elem 'unsafe-inline' b.example:8443/.wormkey/overlay.js"
    ]


# ── the tag ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("bar", "part"),
    [
        (evolve(BAR, slug='"><script>'), b'?slug=%22%3E%3Cscript%3E" '),
        (evolve(BAR, slug="a&b=c d"), b'?slug=a%26b%3Dc%20d" '),
        (evolve(BAR, authority=b'a"><b'), b'src="//a%22%3E%3Cb/.wormkey'),
        (evolve(BAR, authority=b"[::1]:3002"), b'src="//[::1]:3002/.wormkey/overlay.js?'),
    ],
)
def test_nothing_breaks_out_of_the_tag(bar: Bar, part: bytes) -> None:
    """Slug and authority are escaped for a URL, which is safe in an attribute."""
    out = content(shown(bar=bar), [PAGE])
    assert part in out
    assert out.count(b"<script") == 1


def test_nothing_breaks_out_of_a_policy() -> None:
    """A policy names no IPv6 address; separators in an authority are escaped."""
    policy = (b"Content-Security-Policy", b"frame-src 'none'")
    odd = shown(policy, bar=evolve(BAR, authority=b"a;b,c d")).head
    assert get(odd.fields, policy[0].lower()) == [b" frame-src a%3Bb%2Cc%20d/.wormkey/bar"]
    literal = shown(policy, bar=evolve(BAR, authority=b"[::1]:3002")).head
    assert get(literal.fields, policy[0].lower()) == [b" frame-src 'self'"]


def test_a_page_that_wants_integrity_gets_it() -> None:
    """Integrity-Policy blocks scripts without one; elsewhere a proxy's change may not matter."""
    bar = evolve(BAR, integrity=b"sha384-abc")
    wanted = content(
        shown((b"Integrity-Policy", b"blocked-destinations=(script)"), bar=bar), [PAGE]
    )
    assert b' integrity="sha384-abc" crossorigin="anonymous"></script>' in wanted
    assert content(shown(bar=bar), [PAGE]) == SHOWN


# ── the content ─────────────────────────────────────────────────────────────────────────────


@given(coding=st.sampled_from([b"", b"gzip", b"br"]), size=st.integers(1, 200))
def test_the_page_arrives_with_the_tag(coding: bytes, size: int) -> None:
    """Plain or coded, in pieces of any size, it leaves plain, and the tag is in its head."""
    coded = {b"": bytes, b"gzip": gzip.compress, b"br": brotli.compress}[coding](PAGE)
    fields = ((b"Content-Encoding", coding), (b"Content-Length", b"%d" % len(coded)))
    insertion = shown(*(fields if coding else fields[1:]))
    pieces = [coded[at : at + size] for at in range(0, len(coded), size)]
    assert content(insertion, pieces) == SHOWN
    assert get(insertion.head.fields, b"content-encoding") == []
    assert get(insertion.head.fields, b"content-length") == []


def test_a_page_streams() -> None:
    """Each piece goes on at once, and the tag as soon as the head has begun."""
    insertion = shown()
    assert list(insertion.feed(b"<!doctype html><html>")) == [b"<!doctype html><html>"]
    assert list(insertion.feed(b"<he")) == []
    assert list(insertion.feed(b"ad>")) == [b"<head>" + TAG]
    assert list(insertion.feed(b"x")) == [b"x"]
    assert insertion.end() == b""


def test_a_page_without_content_stays_without() -> None:
    """Nothing is made of nothing."""
    assert content(shown(), []) == b""
    assert content(shown((b"Content-Encoding", b"gzip")), [b""]) == b""


def test_a_promised_length_is_held() -> None:
    """The length that is not sent on is held here: an end is not forged, nothing is added."""
    promised = (b"Content-Length", b"11")
    with pytest.raises(StreamError, match="shorter than its Content-Length") as caught:
        content(shown(promised), [b"<p>" + bytes(7)])
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR
    with pytest.raises(StreamError, match="longer than its Content-Length") as caught:
        next(shown(promised).feed(b"<p>" + bytes(9)))
    assert caught.value.code is ErrorCode.PROTOCOL_ERROR


@pytest.mark.parametrize("coding", [b"gzip", b"br"])
def test_a_cut_coding_has_no_end(coding: bytes) -> None:
    """What was cut before its end, or is broken, ends in an error."""
    coded = {b"gzip": gzip.compress, b"br": brotli.compress}[coding](PAGE)
    for broken in (coded[:-1], b"<html>" + coded):
        with pytest.raises(StreamError) as caught:
            content(shown((b"Content-Encoding", coding)), [broken])
        assert caught.value.code is ErrorCode.ORIGIN_FAILED


def test_trailers_that_no_longer_hold_are_dropped() -> None:
    """A digest may come behind the content, too."""
    trailers = ((b"Server-Timing", b"a"), (b"REPR-Digest", b"x"))
    assert overlay.without_digests(trailers) == trailers[:1]

"""Security fields: what every own answer carries, and who is told to come by https only."""

from __future__ import annotations

import pytest

from wormkey.hardening import OWN_ANSWER, strict_transport
from wormkey.routing import PublicUrl

HTTPS = (b"https", 443)


def test_own_answers_may_do_nothing() -> None:
    """The five fields, each once: nothing runs, frames, sniffs, refers or is kept."""
    fields = {name.lower(): value for name, value in OWN_ANSWER}
    assert len(fields) == len(OWN_ANSWER) == 5
    assert fields[b"content-security-policy"] == b"default-src 'none'; frame-ancestors 'none'"
    assert fields[b"x-frame-options"] == b"DENY"
    assert fields[b"x-content-type-options"] == b"nosniff"
    assert fields[b"referrer-policy"] == b"no-referrer"
    assert fields[b"cache-control"] == b"no-store"


@pytest.mark.parametrize(
    "authority",
    [b"tunnels.example", b"demo.tunnels.example", b"control.example", b"Tunnels.Example.:443"],
)
def test_https_is_for_a_year_and_for_this_host_only(authority: bytes) -> None:
    """Names under this one may be somebody else's: no includeSubDomains, no preload."""
    expected = ((b"Strict-Transport-Security", b"max-age=31536000"),)
    assert strict_transport(HTTPS, b"https", authority) == expected


@pytest.mark.parametrize(
    ("public", "scheme", "authority"),
    [
        ("https://tunnels.example", b"http", b"tunnels.example"),  # RFC 6797 section 7.2
        ("http://tunnels.example", b"https", b"tunnels.example"),  # the operator does not say so
        ("https://tunnels.example:8443", b"https", b"tunnels.example:8443"),
        ("https://tunnels.example:8443", b"https", b"tunnels.example"),
        ("https://tunnels.example", b"https", b"tunnels.example:8443"),
        ("https://tunnels.example", b"https", b"localhost"),
        ("https://tunnels.example", b"https", b"demo.localhost."),
        ("https://tunnels.example", b"https", b"192.0.2.1"),
        ("https://tunnels.example", b"https", b"[2001:db8::1]"),
        ("https://tunnels.example", b"https", b""),
        ("https://tunnels.example", b"https", b"two words"),
    ],
)
def test_nobody_else_is_bound(public: str, scheme: bytes, authority: bytes) -> None:
    """Not by plain http, not for other ports of the host, not for addresses or this machine."""
    url = PublicUrl.parse(public)
    assert strict_transport((url.scheme, url.port), scheme, authority) == ()

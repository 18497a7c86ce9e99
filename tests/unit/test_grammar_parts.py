"""grammar.py beyond raw heads: heads out of a tunnel, the predicates, and where a head ends."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.octets import tokens, values
from wormkey import grammar
from wormkey.errors import RemoteProtocolError
from wormkey.frames import MAX_FIELDS, RequestHead, ResponseHead
from wormkey.grammar import check_head_fields


# ── heads out of a tunnel ─────────────────────────────────────────────────────────────────────
@given(st.lists(st.tuples(tokens, values)))
def test_clean_fields_pass(fields: list[tuple[bytes, bytes]]) -> None:
    """Tokens with clean values pass, in any number up to the limit."""
    check_head_fields(tuple(field for field in fields if field[0].lower() != b"content-length"))


@pytest.mark.parametrize(
    "fields",
    [
        ((b"a", b"b\r\nc: d"),),
        ((b"a", b"b\x00"),),
        ((b"a\x00b\x00c", b"d"),),
        ((b"a\x00b", b"c"), (b"d", b"")),
        ((b"a:b", b"c"),),
        ((b"", b"c"),),
        ((b"a", b" b"),),
        ((b"a", b"b\t"),),
        ((b"a", b"\x7f"),),
        ((b"a b", b"c"),),
        ((b"Content-Length", b"1"), (b"content-length", b"1")),
        ((b"Content-Length", b"1, 1"),),
        ((b"Content-Length", b""),),
        ((b"a", b""),) * (MAX_FIELDS + 1),
    ],
)
def test_a_hostile_peers_fields_are_refused(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    """Nothing that would change meaning as text gets through: lines, names, lengths, counts."""
    with pytest.raises(RemoteProtocolError):
        check_head_fields(fields)
    with pytest.raises(RemoteProtocolError):
        grammar.check_tunnel_request(RequestHead(b"GET", b"/", fields))
    with pytest.raises(RemoteProtocolError):
        grammar.check_tunnel_response(ResponseHead(200, fields))


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=6)), max_size=4))
def test_fields_pass_exactly_when_each_part_does(fields: list[tuple[bytes, bytes]]) -> None:
    """The check of all fields at once agrees with the predicates for one."""
    clean = all(grammar.is_token(name) and grammar.is_field_value(value) for name, value in fields)
    try:
        check_head_fields(tuple(fields))
    except RemoteProtocolError:
        assert not clean
    else:
        assert clean


@pytest.mark.parametrize(
    "head",
    [
        RequestHead(b"", b"/", ()),
        RequestHead(b"G T", b"/", ()),
        RequestHead(b"M" * 65, b"/", ()),
        RequestHead(b"CONNECT", b"/", ()),
        RequestHead(b"TRACE", b"/", ()),
        RequestHead(b"GET", b"@evil.example/", ()),
        RequestHead(b"GET", b"http://evil.example/", ()),
        RequestHead(b"GET", b"/ HTTP/1.1\r\nx: y", ()),
        RequestHead(b"GET", b"/", (), b"websocket\r\n"),
    ],
)
def test_a_hostile_gateways_request_is_refused(head: RequestHead) -> None:
    """The client sends its origin nothing that is not one plain request for a path."""
    with pytest.raises(RemoteProtocolError):
        grammar.check_tunnel_request(head)


@pytest.mark.parametrize(
    "head",
    [
        ResponseHead(99, ()),
        ResponseHead(1000, ()),
        ResponseHead(200, (), b"OK\r\nSet-Cookie: a=b"),
        ResponseHead(101, (), b"", b"a b"),
        ResponseHead(101, (), b"", b"websocket,"),
    ],
)
def test_a_hostile_clients_answer_is_refused(head: ResponseHead) -> None:
    """The gateway writes no answer whose parts a viewer could read in another way."""
    with pytest.raises(RemoteProtocolError):
        grammar.check_tunnel_response(head)


def test_sound_heads_come_out_of_a_tunnel() -> None:
    """Ordinary heads, upgrades and lists of protocols among them, pass the guards."""
    grammar.check_tunnel_request(RequestHead(b"GET", b"/x?y", ((b"a", b"b"),), b"websocket"))
    grammar.check_tunnel_request(RequestHead(b"GET", b"/", (), b"a/1, b"))
    grammar.check_tunnel_response(ResponseHead(204, ((b"Content-Length", b"5"),), b"No Content"))
    grammar.check_tunnel_response(ResponseHead(200, (), b"\t OK\xff "))


@given(name=tokens, value=values)
def test_tokens_and_values_are_what_they_say(name: bytes, value: bytes) -> None:
    """The predicates take every token and clean value, and nothing with a line's end."""
    assert grammar.is_token(name)
    assert grammar.is_field_value(value)
    assert not grammar.is_token(name + b"\n")
    assert not grammar.is_field_value(value + b"\r\n")


# ── predicates ────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (b"localhost", b"localhost", None),
        (b"Example.COM:443", b"Example.COM", 443),
        (b"a_b.example.:", b"a_b.example.", None),
        (b"127.0.0.1:0", b"127.0.0.1", 0),
        (b"[::1]", b"[::1]", None),
        (b"[::ffff:127.0.0.1]:65535", b"[::ffff:127.0.0.1]", 65535),
    ],
)
def test_an_authority_splits_into_host_and_port(text: bytes, host: bytes, port: int | None) -> None:
    """The host keeps its spelling and brackets; a missing or empty port is None."""
    assert grammar.split_authority(text) == (host, port)
    assert grammar.is_authority(text)


@given(st.binary(max_size=30))
def test_an_authority_is_split_or_refused(text: bytes) -> None:
    """No octets make the parser raise, and it never makes up a host."""
    parts = grammar.split_authority(text)
    assert grammar.is_authority(text) == (parts is not None)
    assert parts is None or text.startswith(parts[0])


@pytest.mark.parametrize("target", [b"/", b"//x", b"/a/../b?c=%2f|{}\"'", b"/" + b"a" * 20000])
def test_origin_form_targets_are_targets(target: bytes) -> None:
    """Paths and queries as browsers send them, dots, slashes and odd characters included."""
    assert grammar.is_target(target)


@pytest.mark.parametrize(
    "target", [b"", b"*", b"a", b"http://a/", b"/a b", b"/#", b"/\xe9", b"/\n"]
)
def test_other_targets_are_none(target: bytes) -> None:
    """What is not origin-form never enters a tunnel."""
    assert not grammar.is_target(target)


# ── the end of a head ─────────────────────────────────────────────────────────────────────────
@given(
    head=st.sampled_from([b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"]),
    tail=st.binary(max_size=20),
)
def test_the_end_of_a_head_is_found_at_any_slicing(head: bytes, tail: bytes) -> None:
    """The end shows exactly when the empty line is complete, whatever follows."""
    for cut in range(len(head)):
        assert grammar.find_head_end(head[:cut]) == -1
    assert grammar.find_head_end(bytearray(head + tail)) == len(head)
    assert grammar.find_head_end(head + tail, len(head) - 4) == len(head)


def test_bare_line_feeds_end_a_head_too() -> None:
    """A faulty head is complete at once, so that it is refused instead of waited for."""
    raw = b"GET / HTTP/1.1\nHost: a\n\n"
    assert grammar.find_head_end(raw + b"rest") == len(raw)


def test_no_pattern_holds_back_a_whole_group() -> None:
    """CPython before 3.11.5 matches ``(...)*+`` wrongly (gh-106052), and Debian 12 has 3.11.2.

    There, the gateway refused every request. Holding back a single set, ``[...]*+``, is sound.
    """
    patterns = {
        f"{path.stem}.{name}": value.pattern
        for path in Path(grammar.__file__).parent.glob("[a-z]*.py")
        for name, value in vars(importlib.import_module(f"wormkey.{path.stem}")).items()
        if isinstance(value, re.Pattern)
    }
    assert "grammar._REQUEST" in patterns
    for name, pattern in patterns.items():
        text = pattern if isinstance(pattern, bytes) else pattern.encode()
        assert not re.search(rb"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+|\(\?>", text), name

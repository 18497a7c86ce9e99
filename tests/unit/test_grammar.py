"""grammar.py: what browsers and tools send passes; what two parsers could dispute does not."""

from __future__ import annotations

import h11
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.support.heads import ACCEPTED, ANSWERED, BROKEN, CHROMIUM, CURL, REFUSED, request
from tests.support.octets import raw_values, targets, tokens
from wormkey.errors import AdmissionError, ErrorCode, OriginError
from wormkey.grammar import check_request_head, check_response_head

DECISIVE = (b"host", b"content-length", b"transfer-encoding", b"expect", b"connection")
plain_fields = st.lists(
    st.tuples(tokens.filter(lambda name: name.lower() not in DECISIVE), raw_values), max_size=6
)


def parsed_by_h11(role: type[h11.Sentinel], raw: bytes) -> h11.Request | h11.Response:
    """Return the head as h11 reads it."""
    connection = h11.Connection(role)
    if role is h11.CLIENT:
        connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    connection.receive_data(raw)
    event = connection.next_event()
    assert isinstance(event, h11.Request | h11.Response | h11.InformationalResponse)
    return event


# ── requests ──────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("raw", ACCEPTED)
def test_what_is_normally_sent_passes(raw: bytes) -> None:
    """Heads of browsers and tools, and the corners that RFC 9112 allows, are accepted."""
    check_request_head(raw)


@given(method=tokens, target=targets, fields=plain_fields)
@example(method=b"GET", target=b"//x", fields=[])
def test_every_plain_request_passes_and_reads_as_h11_reads_it(
    method: bytes, target: bytes, fields: list[tuple[bytes, bytes]]
) -> None:
    """Any token, target and clean fields pass, and h11 then finds the very same parts."""
    lines = [name + b":" + value for name, value in fields]
    raw = request(*lines, start=b"%b %b HTTP/1.1" % (method, target))
    assume(method not in (b"CONNECT", b"TRACE"))
    check_request_head(raw)
    event = parsed_by_h11(h11.SERVER, raw)
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (method, target)
    kept = [(name, value.strip(b" \t")) for name, value in fields]
    assert event.headers.raw_items()[1:] == kept


@pytest.mark.parametrize(("raw", "status", "words"), REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(raw: bytes, status: int, words: str) -> None:
    """Each fault has its status, its code, and a sentence that says what is wrong."""
    with pytest.raises(AdmissionError, match=words) as caught:
        check_request_head(raw)
    assert caught.value.status == status
    assert caught.value.code in {
        "bad_request",
        "expectation_failed",
        "head_too_large",
        "not_implemented",
        "version_not_supported",
    }


mutations = st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3))


@given(
    raw=st.sampled_from([CURL, CHROMIUM, *[row[0] for row in REFUSED[:60]]]),
    changes=st.lists(mutations, min_size=1, max_size=4),
)
def test_a_damaged_request_is_refused_or_means_the_same_to_h11(
    raw: bytes, changes: list[tuple[int, int, bytes]]
) -> None:
    """Whatever passes is parsed by h11 too; whatever does not is an AdmissionError."""
    for at, drop, insert in changes:
        raw = raw[:at] + insert + raw[at + drop :]
    try:
        check_request_head(raw)
    except AdmissionError:
        return
    event = parsed_by_h11(h11.SERVER, raw)
    assert isinstance(event, h11.Request)
    lines = raw.split(b"\r\n")[1:-2]
    assert [name for name, _ in event.headers.raw_items()] == [
        line.partition(b":")[0] for line in lines
    ]


# ── responses ─────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("raw", ANSWERED)
def test_what_origins_normally_answer_passes(raw: bytes) -> None:
    """Answers with and without reason, interim ones, both framings: accepted, by h11 too."""
    check_response_head(raw)
    parsed_by_h11(h11.CLIENT, raw)


@pytest.mark.parametrize(("raw", "words"), BROKEN)
def test_a_broken_answer_is_the_origins_failure(raw: bytes, words: str) -> None:
    """An origin that breaks HTTP gets the error that becomes a 502, with what broke."""
    with pytest.raises(OriginError, match=words) as caught:
        check_response_head(raw)
    assert caught.value.code is ErrorCode.ORIGIN_FAILED


@given(st.binary(max_size=80))
def test_any_octets_get_an_answer(raw: bytes) -> None:
    """No input makes either check raise anything else."""
    with pytest.raises(AdmissionError):
        check_request_head(b"G\x00" + raw)
    with pytest.raises(OriginError):
        check_response_head(raw + b"\r")

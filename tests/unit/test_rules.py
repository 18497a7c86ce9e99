"""An owner's rules: written and read alike everywhere, and nothing that could not be enforced."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from attrs import evolve

from wormkey.errors import AdmissionError
from wormkey.rules import (
    MAX_BLOCK_PATHS,
    MAX_CONTENT_BYTES,
    MAX_METHODS,
    MAX_NETWORKS,
    MAX_RATE,
    MAX_STREAMS,
    MAX_VIEWERS,
    OPEN_TO_ALL,
    RULE_NAMES,
    Policy,
    parse_policy,
)
from wormkey.values import parse_network

WHOLE = Policy(
    public=False,
    max_concurrent_viewers=3,
    block_paths=("/admin",),
    ignore_case=False,
    allowed_networks=(parse_network("192.0.2.0/24"),),
    denied_networks=(parse_network("192.0.2.7/32"), parse_network("2001:db8::/32")),
    allowed_methods=("GET", "HEAD"),
    viewer_rate=5,
    tunnel_rate=50,
    max_streams_per_viewer=6,
    max_streams=60,
    max_content_bytes=1_000_000,
)


def test_every_rule_reads_back() -> None:
    """JSON made from a policy makes the same policy; no member is left at its default here."""
    assert parse_policy(WHOLE.as_json()) == WHOLE
    assert parse_policy(OPEN_TO_ALL.as_json()) == OPEN_TO_ALL
    assert set(WHOLE.as_json()) == set(RULE_NAMES)
    for attribute in attrs.fields(Policy):
        assert getattr(WHOLE, attribute.name) != attribute.default


@pytest.mark.parametrize("name", RULE_NAMES)
def test_one_member_changes_one_rule(name: str) -> None:
    """What is absent stays as it is, whatever it was."""
    changed = parse_policy({name: OPEN_TO_ALL.as_json()[name]}, WHOLE).as_json()
    assert changed == WHOLE.as_json() | {name: OPEN_TO_ALL.as_json()[name]}


def test_nothing_is_changed_by_nothing() -> None:
    """No document, an empty one, unknown members."""
    for document in (None, {}, {"colour": "red", "password": "x"}):
        assert parse_policy(document, WHOLE) == WHOLE


def test_null_is_no_limit_and_no_list() -> None:
    """As clients that send every member write it."""
    nothing = parse_policy({"maxConcurrentViewers": None, "blockPaths": None}, WHOLE)
    assert nothing == evolve(WHOLE, max_concurrent_viewers=0, block_paths=())


def test_networks_are_written_as_they_are_meant() -> None:
    """A bare address is one host."""
    rules = parse_policy({"deniedNetworks": ["192.0.2.7", "2001:db8::/32"]})
    assert rules.as_json()["deniedNetworks"] == ["192.0.2.7/32", "2001:db8::/32"]


BAD: list[dict[str, Any]] = [
    {"public": 1},
    {"public": None},
    {"ignoreCase": "yes"},
    {"maxConcurrentViewers": -1},
    {"maxConcurrentViewers": True},
    {"maxConcurrentViewers": "3"},
    {"maxConcurrentViewers": 1.5},
    {"maxConcurrentViewers": MAX_VIEWERS + 1},
    {"viewerRate": MAX_RATE + 1},
    {"tunnelRate": []},
    {"maxStreams": MAX_STREAMS + 1},
    {"maxStreamsPerViewer": "1"},
    {"maxContentBytes": MAX_CONTENT_BYTES + 1},
    {"blockPaths": "/admin"},
    {"blockPaths": {"a": 1}},
    {"blockPaths": ["admin"]},
    {"blockPaths": [1]},
    {"blockPaths": ["/a?b"]},
    {"blockPaths": ["/%61"]},
    {"blockPaths": ["/a\n"]},
    {"blockPaths": ["/" + "a" * 256]},
    {"blockPaths": ["/a"] * (MAX_BLOCK_PATHS + 1)},
    {"allowedNetworks": "10.0.0.0/8"},
    {"allowedNetworks": ["10.0.0.1/8"]},
    {"deniedNetworks": ["localhost"]},
    {"deniedNetworks": ["10.0.0.0/8"] * (MAX_NETWORKS + 1)},
    {"allowedMethods": "GET"},
    {"allowedMethods": ["GET "]},
    {"allowedMethods": [""]},
    {"allowedMethods": ["GET"] * (MAX_METHODS + 1)},
]


@pytest.mark.parametrize("document", BAD, ids=str)
def test_what_cannot_be_enforced_is_refused_by_name(document: dict[str, Any]) -> None:
    """400, and the sentence names the member."""
    (name,) = document
    with pytest.raises(AdmissionError, match=rf"policy\.{name} ") as caught:
        parse_policy(document)
    assert (caught.value.status, caught.value.code) == (400, "invalid_policy")


@pytest.mark.parametrize("document", [[], "x", 1, True])
def test_a_policy_is_an_object(document: object) -> None:
    """Other JSON values answer 400."""
    with pytest.raises(AdmissionError) as caught:
        parse_policy(document)
    assert caught.value.status == 400

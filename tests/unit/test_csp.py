"""csp.py: one script and one frame get in, and a policy forbids all that it forbade before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wormkey import csp
from wormkey.csp import Grant

NONCE = b"'nonce-Zm9v'"
SCRIPT = b"b.example/.wormkey/overlay.js"
FRAME = b"b.example/.wormkey/bar"
GRANT = Grant(nonce=NONCE, script=SCRIPT, frame=FRAME)

GRANTED = [
    # nothing restricted: octet for octet
    (b"", b""),
    (b" ; ;", b" ; ;"),
    (b"object-src 'none';  img-src *", b"object-src 'none';  img-src *"),
    (b"upgrade-insecure-requests", b"upgrade-insecure-requests"),
    # others fall back on these, so they stay as they are
    (b"script-src 'self'", b"script-src 'self'; script-src-elem 'self' NONCE"),
    (
        b"default-src 'self'",
        b"default-src 'self'; script-src-elem 'self' NONCE; frame-src 'self' FRAME",
    ),
    (
        b"default-src 'self';",
        b"default-src 'self'; script-src-elem 'self' NONCE; frame-src 'self' FRAME",
    ),
    (b"child-src a.example", b"child-src a.example; frame-src a.example FRAME"),
    # the directive itself
    (b"script-src-elem 'self'; img-src *", b" script-src-elem 'self' NONCE; img-src *"),
    (b"Frame-Src  a.example\tb.example", b" frame-src a.example b.example FRAME"),
    (b"frame-src", b" frame-src FRAME"),
    # 'none' means nothing beside another source
    (
        b"default-src 'none'",
        b"default-src 'none'; script-src-elem NONCE; frame-src FRAME",
    ),
    (b"script-src 'NONE'", b"script-src 'NONE'; script-src-elem NONCE"),
    (b"frame-src 'none'; script-src", b" frame-src FRAME; script-src; script-src-elem NONCE"),
    # the nearest directive counts
    (
        b"default-src 'none'; child-src a.example; script-src c.example",
        b"default-src 'none'; child-src a.example; script-src c.example"
        b"; script-src-elem c.example NONCE; frame-src a.example FRAME",
    ),
    # a nonce would end 'unsafe-inline', and with it the page's own scripts
    (
        b"script-src 'self' 'unsafe-inline'",
        b"script-src 'self' 'unsafe-inline'; script-src-elem 'self' 'unsafe-inline' SCRIPT",
    ),
    (
        b"script-src 'Unsafe-Inline' 'unsafe-eval'",
        b"script-src 'Unsafe-Inline' 'unsafe-eval'"
        b"; script-src-elem 'Unsafe-Inline' 'unsafe-eval' SCRIPT",
    ),
    (
        b"script-src 'unsafe-inline' 'nonce-{{ nonce }}'",  # no nonce: a template not filled in
        b"script-src 'unsafe-inline' 'nonce-{{ nonce }}'"
        b"; script-src-elem 'unsafe-inline' 'nonce-{{ nonce }}' SCRIPT",
    ),
    # it does not count any more
    (
        b"script-src 'unsafe-inline' 'nonce-YQ=='",
        b"script-src 'unsafe-inline' 'nonce-YQ=='"
        b"; script-src-elem 'unsafe-inline' 'nonce-YQ==' NONCE",
    ),
    (
        b"script-src 'unsafe-inline' 'SHA256-YQ=='",
        b"script-src 'unsafe-inline' 'SHA256-YQ=='"
        b"; script-src-elem 'unsafe-inline' 'SHA256-YQ==' NONCE",
    ),
    # a URL would not count
    (
        b"script-src 'strict-dynamic' 'unsafe-inline' https:",
        b"script-src 'strict-dynamic' 'unsafe-inline' https:"
        b"; script-src-elem 'strict-dynamic' 'unsafe-inline' https: NONCE",
    ),
    # the first of two directives counts; one with other letters does not
    (
        b"script-src a.example; script-src *",
        b"script-src a.example; script-src *; script-src-elem a.example NONCE",
    ),
    (b"script-src-elem caf\xe9; img-src *", b"script-src-elem caf\xe9; img-src *"),
    # several policies in one field: each must let in
    (
        b"script-src 'none', img-src *, frame-src 'none'",
        b"script-src 'none'; script-src-elem NONCE, img-src *, frame-src FRAME",
    ),
]


def filled(expected: bytes) -> bytes:
    """An expectation with the sources in their places."""
    for word, source in ((b"NONCE", NONCE), (b"SCRIPT", SCRIPT), (b"FRAME", FRAME)):
        expected = expected.replace(b" " + word, b" " + source)
    return expected


@pytest.mark.parametrize(("value", "expected"), GRANTED)
def test_a_policy_lets_in_our_script_and_our_frame_alone(value: bytes, expected: bytes) -> None:
    """Each kind of policy is widened where it must be, and only there."""
    assert csp.grant(value, GRANT) == filled(expected)


sources = st.sampled_from(
    [
        b"'self'",
        b"'none'",
        b"*",
        b"'unsafe-inline'",
        b"'strict-dynamic'",
        b"'nonce-YQ=='",
        b"a.example",
    ]
)
names = st.sampled_from(
    [b"default-src", b"script-src", b"script-src-elem", b"child-src", b"frame-src", b"img-src"]
)
policies = st.lists(
    st.tuples(names, st.lists(sources, max_size=4)).map(
        lambda each: b" ".join([each[0], *each[1]])
    ),
    max_size=5,
).map(b";".join)


def lists_of(policy: bytes) -> dict[bytes, set[bytes]]:
    """What each directive of one policy allows; 'none' beside others is nothing."""
    found: dict[bytes, set[bytes]] = {}
    for piece in policy.split(b";"):
        words = piece.split()
        if words:
            found.setdefault(words[0], set(words[1:]) - {b"'none'"})
    return found


def effective(directives: dict[bytes, set[bytes]], *names: bytes) -> set[bytes] | None:
    """The list that governs: the first of these that is there; None is no restriction."""
    return next((directives[name] for name in names if name in directives), None)


@given(policies)
def test_nothing_else_changes(policy: bytes) -> None:
    """Scripts and frames may do one thing more; every other kind of fetch what it might before."""
    before = lists_of(policy)
    after = lists_of(csp.grant(policy, GRANT))
    for chain, ours in (
        ((b"script-src-elem", b"script-src", b"default-src"), {NONCE, SCRIPT}),
        ((b"frame-src", b"child-src", b"default-src"), {FRAME}),
    ):
        old, new = effective(before, *chain), effective(after, *chain)
        if old is None:
            assert new is None
        else:
            assert new is not None
            assert old <= new
            assert len(new - old) == 1
            assert new - old <= ours
    for name in (b"default-src", b"script-src", b"child-src", b"img-src"):
        assert before.get(name) == after.get(name)


@pytest.mark.parametrize(
    ("value", "forbidden"),
    [
        (b"default-src 'none'", False),
        (b"sandbox", True),
        (b"img-src *; Sandbox allow-scripts", True),
        (b"sandbox allow-same-origin allow-forms", True),
        (b"sandbox allow-forms Allow-Scripts allow-same-origin", False),
        (b"img-src *, sandbox", True),
    ],
)
def test_a_sandbox_without_scripts_or_cookies_has_no_bar(value: bytes, forbidden: bool) -> None:
    """No source lets a script into a sandbox, and a frame in it has no owner's cookie."""
    assert csp.forbids(value) is forbidden

"""The policy: credentials read strictly, hashes that deny by default, verdicts on requests."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st

from wormkey import policy
from wormkey.policy import Admit, AskPassword, Challenge, Credentials, Facts, Refuse
from wormkey.rules import Policy
from wormkey.session import Session, digest_of
from wormkey.values import parse_network

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OPEN = Session(
    session_id="1",
    slug="demo",
    created_at=NOW,
    expires_at=NOW + timedelta(hours=1),
    session_token_digest=digest_of(b"a"),
    owner_token_digest=digest_of(b"b"),
)
LOCKED = evolve(
    OPEN, auth_mode="basic", username="worm", password_hash=policy.hash_generated("right")
)


def basic(user_pass: str, scheme: str = "Basic") -> bytes:
    """Return an Authorization value."""
    return scheme.encode() + b" " + base64.b64encode(user_pass.encode())


@given(st.binary().filter(lambda user: b":" not in user), st.binary())
def test_credentials_split_at_the_first_colon(username: bytes, password: bytes) -> None:
    """A password may hold colons and any octets (RFC 7617 §2)."""
    field = b"basic  " + base64.b64encode(username + b":" + password)
    assert policy.parse_basic(field) == Credentials(username, password)


@pytest.mark.parametrize(
    "field",
    [
        None,
        b"",
        b"Basic",
        b"Basic ",
        b"Bearer d29ybTpyaWdodA==",
        b"Basic d29ybTpyaWdodA==, Basic d29ybTpyaWdodA==",
        b"Basic d29ybTpyaWdodA",  # no padding
        b"Basic !!!!",
        basic("no colon"),
        basic("worm:" + "x" * 100_000),
    ],
)
def test_other_fields_are_no_credentials(field: bytes | None) -> None:
    """Other schemes, joined or broken fields, no colon, no end: None."""
    assert policy.parse_basic(field) is None
    assert not policy.check_basic(LOCKED, field)


def test_only_user_and_password_together_open() -> None:
    """One right half is not enough, and spelling counts."""
    assert policy.check_basic(LOCKED, basic("worm:right"))
    for wrong in ("worm:", ":right", "worm:wrong", "Worm:right", "worm:right ", "worm:Right", ":"):
        assert not policy.check_basic(LOCKED, basic(wrong))


@pytest.mark.parametrize(
    "changes",
    [
        {"auth_mode": "none"},
        {"username": None},
        {"username": ""},
        {"password_hash": None},
        {"password_hash": ""},
        {"password_hash": "sha256$"},
        {"password_hash": "plain$right"},
        {"password_hash": "right"},
        {"password_hash": "scrypt$3$8$1$AAAA$AAAA"},
        {"password_hash": "scrypt$x$8$1$AAAA$AAAA"},
    ],
)
def test_a_session_without_usable_credentials_denies(changes: dict[str, Any]) -> None:
    """What cannot be checked is refused: nothing, empty, unknown, broken."""
    session = evolve(LOCKED, **changes)
    for given_ in ("worm:right", ":", "worm:", ":right", "None:None"):
        assert not policy.check_basic(session, basic(given_))


def test_chosen_passwords_are_salted_and_slow() -> None:
    """scrypt, another hash for each salt, and the right password alone matches."""
    stored = policy.hash_chosen("hunter2", b"salt" * 4)
    assert stored != policy.hash_chosen("hunter2", b"talk" * 4)
    assert stored.startswith("scrypt$")
    assert "hunter2" not in stored
    assert policy.is_slow(stored)
    assert policy.verify_password(b"hunter2", stored)
    assert not policy.verify_password(b"hunter3", stored)
    assert not policy.verify_password(b"", stored)
    assert not policy.verify_password(b"x" * 5000, stored)


def test_generated_passwords_are_fast_to_check() -> None:
    """128 random bits need no slow hash."""
    stored = policy.hash_generated("right")
    assert stored.startswith("sha256$")
    assert not policy.is_slow(stored)


def test_passwords_are_not_shown() -> None:
    """Credentials in a log line give nothing away."""
    assert "right" not in repr(Credentials(b"worm", b"right"))


def test_challenge_names_the_session() -> None:
    """The browser keeps one password for each session (RFC 7617 §2)."""
    name, value = policy.challenge_field(LOCKED)
    assert name == b"WWW-Authenticate"
    assert b'realm="demo"' in value


def admit(session: Session, target: bytes = b"/", **facts: Any) -> policy.Verdict:
    """Ask for a verdict on a first viewer without credentials."""
    return policy.admit(session, Facts(target=target, **facts))


def refused(session: Session, target: bytes = b"/", **facts: Any) -> tuple[int, str]:
    """Return status and code of the verdict, which must be a refusal."""
    verdict = admit(session, target, **facts)
    assert isinstance(verdict, Refuse)
    return verdict.status, verdict.code


def test_open_session_admits_and_closed_one_asks() -> None:
    """Credentials are wanted only where the session has some."""
    assert admit(OPEN) == Admit()
    assert admit(LOCKED) == Challenge()
    assert admit(LOCKED, authenticated=True) == Admit()


def test_locked_page_answers_403_even_with_credentials() -> None:
    """The owner's lock is above a password."""
    session = evolve(LOCKED, policy=Policy(public=False))
    verdict = admit(session, authenticated=True)
    assert isinstance(verdict, Refuse)
    assert verdict.status == 403


def test_the_password_is_asked_for_apart_from_credentials() -> None:
    """A session may have either, or both; each is wanted by itself."""
    gated = evolve(OPEN, gate_hash="sha256$x")
    assert admit(gated) == AskPassword()
    assert admit(gated, authenticated=True) == AskPassword()
    assert admit(gated, knows_password=True) == Admit()
    both = evolve(LOCKED, gate_hash="sha256$x")
    assert admit(both, knows_password=True) == Challenge()
    assert admit(both, authenticated=True) == AskPassword()
    assert admit(both, authenticated=True, knows_password=True) == Admit()


def test_the_owner_is_let_past_what_is_his_to_open() -> None:
    """The lock, the networks, both credentials; not the paths, methods and sizes of his app."""
    rules = Policy(
        public=False,
        denied_networks=(parse_network("192.0.2.1/32"),),
        block_paths=("/admin",),
        allowed_methods=("GET",),
        max_content_bytes=5,
    )
    session = evolve(LOCKED, policy=rules, gate_hash="sha256$x")
    mine: dict[str, Any] = {"owner": True, "address": "192.0.2.1"}
    assert admit(session, **mine) == Admit()
    assert refused(session, b"/admin", **mine) == (403, "path_blocked")
    assert refused(session, method=b"POST", **mine) == (405, "method_refused")
    assert refused(session, content_length=6, **mine) == (413, "content_too_large")


@pytest.mark.parametrize(
    ("allowed", "denied", "address", "fits"),
    [
        ((), (), "192.0.2.1", True),
        ((), (), "", True),
        (("192.0.2.0/24",), (), "192.0.2.1", True),
        (("192.0.2.0/24",), (), "198.51.100.1", False),
        (("192.0.2.0/24",), (), "2001:db8::1", False),
        (("192.0.2.0/24",), (), "unix", False),
        (("192.0.2.0/24",), (), "::ffff:192.0.2.1", True),
        ((), ("192.0.2.0/24",), "192.0.2.1", False),
        ((), ("192.0.2.0/24",), "::ffff:192.0.2.1", False),
        ((), ("192.0.2.0/24",), "198.51.100.1", True),
        ((), ("192.0.2.0/24",), "unix", True),
        (("192.0.2.0/24",), ("192.0.2.1/32",), "192.0.2.1", False),
        (("192.0.2.0/24",), ("192.0.2.1/32",), "192.0.2.2", True),
        (("2001:db8::/32",), (), "2001:db8::1", True),
    ],
)
def test_networks_are_admitted_and_denied(
    allowed: tuple[str, ...], denied: tuple[str, ...], address: str, fits: bool
) -> None:
    """Denied counts before allowed, and an address in no list of allowed ones is out."""
    rules = Policy(
        allowed_networks=tuple(map(parse_network, allowed)),
        denied_networks=tuple(map(parse_network, denied)),
    )
    session = evolve(OPEN, policy=rules)
    if fits:
        assert admit(session, address=address) == Admit()
    else:
        assert refused(session, address=address) == (403, "network_not_allowed")


def test_only_the_methods_of_the_list_pass() -> None:
    """405 names them; methods are compared with case (RFC 9110 §9.1)."""
    session = evolve(OPEN, policy=Policy(allowed_methods=("GET", "HEAD")))
    assert admit(session, method=b"HEAD") == Admit()
    verdict = admit(session, method=b"POST")
    assert isinstance(verdict, Refuse)
    assert verdict.fields == ((b"Allow", b"GET, HEAD"),)
    assert refused(session, method=b"get") == (405, "method_refused")


def test_content_that_says_it_is_too_large_is_refused() -> None:
    """At the limit it passes; content of unknown length is counted as it comes."""
    session = evolve(OPEN, policy=Policy(max_content_bytes=5))
    assert admit(session, method=b"POST", content_length=5) == Admit()
    assert admit(session, method=b"POST", content_length=None) == Admit()
    assert refused(session, method=b"POST", content_length=6) == (413, "content_too_large")


def test_blocked_paths_keep_their_case_where_the_owner_says_so() -> None:
    """/Admin is another path than /admin for an app that thinks so."""
    session = evolve(OPEN, policy=Policy(block_paths=("/admin",), ignore_case=False))
    assert refused(session, b"/%61dmin") == (403, "path_blocked")
    assert admit(session, b"/Admin") == Admit()


@pytest.mark.parametrize(
    "target",
    [
        b"/admin",
        b"/admin/",
        b"/admin/x?y",
        b"/admin?x",
        b"//admin",
        b"/./admin",
        b"/x/../admin",
        b"/x/%2e%2e/admin",
        b"/x/%252e%252e/admin",
        b"/%61dmin",
        b"/%2561dmin",
        b"/ADMIN",
        b"\\admin",
        b"/x\\..\\admin",
        b"/admin;v=1/x",
        b"/admin%2fx",
        b"/..//admin",
    ],
)
def test_blocked_path_is_blocked_however_it_is_spelt(target: bytes) -> None:
    """Encodings, dots, slashes and case do not get past the block."""
    session = evolve(OPEN, policy=Policy(block_paths=("/other", "/admin")))
    verdict = admit(session, target)
    assert isinstance(verdict, Refuse)
    assert verdict.status == 403


@pytest.mark.parametrize("target", [b"/", b"/administrator", b"/x/admin", b"/?/admin", b"*"])
def test_other_paths_pass(target: bytes) -> None:
    """A block covers whole segments from the root only."""
    assert admit(evolve(OPEN, policy=Policy(block_paths=("/admin",))), target) == Admit()

"""terms.py: the rules of a session as options, and what the server is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.client_home import FakeClient, leave_a_crashed_session, write_config
from tests.support.fake_control import Answer, Asked, refusal
from wormkey import cli
from wormkey.rules import Policy, parse_policy
from wormkey.terms import TERMS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_control import FakeControl

pytest_plugins = ("tests.support.client_fixtures",)
pytestmark = pytest.mark.usefixtures("home")

CASES: list[tuple[list[str], str, str, str, object]] = [
    # flags, variable, its text, TOML, what is asked for
    (["--password", "pw"], "PASSWORD", "pw", 'password = "pw"', {"password": "pw"}),
    (["--private"], "PRIVATE", "1", "private = true", {"public": False}),
    (["--max-viewers", "5"], "MAX_VIEWERS", "5", "max_viewers = 5", {"maxConcurrentViewers": 5}),
    (
        ["--block-path", "/a", "--block-path", "/b"],
        "BLOCK_PATH",
        "/a /b",
        'block_path = ["/a", "/b"]',
        {"blockPaths": ["/a", "/b"]},
    ),
    (["--match-case"], "MATCH_CASE", "1", "match_case = true", {"ignoreCase": False}),
    (
        ["--allow-network", "10.0.0.0/8"],
        "ALLOW_NETWORK",
        "10.0.0.0/8",
        'allow_network = ["10.0.0.0/8"]',
        {"allowedNetworks": ["10.0.0.0/8"]},
    ),
    (
        ["--deny-network", "::/0"],
        "DENY_NETWORK",
        "::/0",
        'deny_network = ["::/0"]',
        {"deniedNetworks": ["::/0"]},
    ),
    (
        ["--allow-method", "get"],
        "ALLOW_METHOD",
        "GET",
        'allow_method = ["GET"]',
        {"allowedMethods": ["GET"]},
    ),
    (["--viewer-rate", "9"], "VIEWER_RATE", "9", "viewer_rate = 9", {"viewerRate": 9}),
    (["--tunnel-rate", "9"], "TUNNEL_RATE", "9", 'tunnel_rate = "9"', {"tunnelRate": 9}),
    (
        ["--viewer-streams", "9"],
        *("VIEWER_STREAMS", "9", "viewer_streams = 9", {"maxStreamsPerViewer": 9}),
    ),
    (["--tunnel-streams", "9"], "TUNNEL_STREAMS", "9", "tunnel_streams = 9", {"maxStreams": 9}),
    (
        ["--max-upload", "1MiB"],
        "MAX_UPLOAD",
        "1MiB",
        'max_upload = "1MiB"',
        {"maxContentBytes": 2**20},
    ),
]


def test_every_option_has_a_case_and_a_member() -> None:
    """The members are the API's own."""
    assert [case[0][0] for case in CASES] == [term.flag for term in TERMS]
    members = set(Policy().as_json()) | {"password"}
    assert {term.member for term in TERMS} == members


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize(("flags", "variable", "text", "toml", "policy"), CASES)
def test_a_rule_is_asked_for_by_flag_variable_and_file(
    flags: list[str],
    variable: str,
    text: str,
    toml: str,
    policy: dict[str, Any],
    control: FakeControl,
    origin: str,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same policy each time, one that the server takes; nothing where nothing is said."""

    def policy_sent(*arguments: str) -> object:
        control.asked.clear()
        assert cli.run([origin, "--control-plane", control.url, *arguments]) == 0
        return control.asked[0].body.get("policy")

    assert policy_sent() is None
    assert policy_sent(*flags) == policy
    monkeypatch.setenv(f"WORMKEY_{variable}", text)
    assert policy_sent() == policy
    monkeypatch.delenv(f"WORMKEY_{variable}")
    write_config(home, toml)
    assert policy_sent() == policy
    parse_policy(policy)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--password", ""), ("--password", "a\x07"), ("--max-viewers", "many")),
        *(("--max-viewers", "-1"), ("--block-path", "admin"), ("--block-path", "/a?b")),
        *(("--block-path", "/%61"), ("--allow-network", "10.0.0.1/8"), ("--deny-network", "x")),
        *(("--allow-method", "GET POST"), ("--viewer-rate", "1.5"), ("--max-upload", "10 apples")),
    ],
)
def test_a_value_that_is_none_is_told_by_its_flag(
    flag: str, value: str, origin: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 2, before anything is asked."""
    assert cli.run([origin, flag, value]) == 2
    error = capfd.readouterr().err
    assert error.count("\n") == 1
    assert flag in error


@pytest.mark.parametrize(("status", "code"), [(200, 0), (400, 1)])
def test_a_resumed_session_gets_the_rules_that_are_asked_for(
    status: int, code: int, client: type[FakeClient], control: FakeControl, origin: str
) -> None:
    """As its owner, before anything is served; it is not served with others."""
    leave_a_crashed_session(control, "1")
    sessions, asked_for = control.script, []

    def script(asked: Asked) -> Answer:
        if not asked.path.endswith("/policy"):
            return sessions(asked)
        asked_for.append((asked.path, asked.token, asked.body))
        return Answer(200, {"ok": True}) if status == 200 else refusal(status, "no")

    control.script = script
    arguments = [origin, "--name", "demo", "--private", "--control-plane", control.url]
    assert (cli.run(arguments) == 0) == (code == 0)
    assert asked_for == [("/sessions/by-slug/demo/policy", "owner-1", {"public": False})]
    assert bool(client.made) == (code == 0)

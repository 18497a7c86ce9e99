"""explain.py: a code is found however it was copied, and nothing is asked of anybody."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from wormkey import cli
from wormkey.apicodes import ALL_CODES
from wormkey.explain import find, nearest

pytest_plugins = ("tests.support.client_fixtures",)
pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize(
    "spelling",
    [
        ["no_tunnel"],
        ["NO_TUNNEL"],
        ["no-tunnel"],
        [" no_tunnel\n"],
        ["Wormkey-Error: no_tunnel"],
        ["wormkey-error:no_tunnel"],
        ["Wormkey-Error:", "no_tunnel"],
        ["no", "tunnel"],
    ],
)
def test_a_code_is_explained_however_it_was_copied(
    spelling: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Title, meaning, side and remedy go to stdout; exit 0."""
    page = ALL_CODES["no_tunnel"]
    assert cli.run(["explain", *spelling]) == 0
    out, err = capfd.readouterr()
    said = " ".join(out.split())
    for words in ("no_tunnel (502)", page.title, page.meaning, "Whose side: owner", page.remedy):
        assert words in said
    assert err == ""


def test_a_status_explains_all_its_codes(capfd: pytest.CaptureFixture[str]) -> None:
    """502 is more than one thing; the reader sees which."""
    assert cli.run(["explain", "504"]) == 0
    assert capfd.readouterr().out.startswith("origin_timeout (504): ")
    codes = find("502")
    assert {"no_tunnel", "tunnel_lost", "origin_failed", "origin_unreachable"} <= set(codes)
    assert {ALL_CODES[code].status for code in codes} == {502}


def test_without_a_code_all_are_listed(capfd: pytest.CaptureFixture[str]) -> None:
    """One line for each code, with its status, side and title, within eighty columns."""
    assert cli.run(["explain"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(ALL_CODES)
    for line, page in zip(lines, ALL_CODES.values(), strict=True):
        assert line.endswith(page.title)
        assert page.side.value in line
        assert len(line) <= 80


def test_no_line_is_wider_than_a_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    """An entry is wrapped, whatever its sentences are."""
    for code in ALL_CODES:
        assert cli.run(["explain", code]) == 0
    assert max(map(len, capfd.readouterr().out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("no_tunel", "no_tunnel"),
        ("tunnel", "tunnel_lost"),
        ("origin", "origin_failed"),
        ("418", "lists all"),
        ("", "lists all"),
        ("zzzz" * 1000, "lists all"),
    ],
)
def test_an_unknown_code_is_one_line_and_exit_2(
    text: str, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The nearest codes are named; a status without codes and nonsense get the way to the list."""
    assert cli.run(["explain", text]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert hint in err
    assert len(err) < 300


def test_the_nearest_are_few_and_each_once() -> None:
    """A part of many codes' names brings three, not all."""
    assert len(nearest("invalid")) == 3
    assert nearest("x") == nearest("") == []


def test_json_is_a_list_of_entries(capfd: pytest.CaptureFixture[str]) -> None:
    """The same keys for one code and for all; what never is a status is null."""
    assert cli.run(["explain", "--json", "replaced"]) == 0
    [entry] = json.loads(capfd.readouterr().out)
    page = ALL_CODES["replaced"]
    assert entry == {
        "code": "replaced",
        "status": None,
        "side": "owner",
        "title": page.title,
        "meaning": page.meaning,
        "remedy": page.remedy,
    }
    assert cli.run(["explain", "--json"]) == 0
    entries = json.loads(capfd.readouterr().out)
    assert [each["code"] for each in entries] == list(ALL_CODES)
    assert {tuple(each) for each in entries} == {tuple(entry)}


def test_a_shell_completes_codes() -> None:
    """What is begun is finished, with the title as help."""
    complete = ShellComplete(cli._wormkey, {}, "wormkey", "_WORMKEY_COMPLETE")
    items = complete.get_completions(["explain"], "NO_T")
    assert [(item.value, item.help) for item in items] == [
        ("no_tunnel", ALL_CODES["no_tunnel"].title)
    ]
    assert {item.value for item in complete.get_completions(["explain"], "")} == set(ALL_CODES)


def test_it_needs_no_tunnel_library() -> None:
    """The module itself stays light: neither trio nor sockets' TLS come with it."""
    program = "import sys, wormkey.explain; sys.exit(bool({'trio', 'ssl'} & set(sys.modules)))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment, timeout=30)

"""wormkeyd on the command line: options, exit codes, one line when it cannot go on."""

from __future__ import annotations

import errno
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.logs import restored_logging
from wormkey import __version__, daemon, nursery
from wormkey.config import OPTIONS, Settings
from wormkey.daemon import main, run
from wormkey.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _own_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Take the variables of whoever runs the tests away, and give a state folder of their own."""
    for option in OPTIONS:
        for name in option.variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WORMKEY_STATE_DIR", str(tmp_path / "state"))
    with restored_logging():
        yield


def only_line(capsys: Captured) -> str:
    """Return the one line on stderr; stdout must be empty."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("wormkeyd: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("wormkeyd: ").rstrip("\n")


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """Answer every connection with these bytes; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.settimeout(5)
                    if peer.recv(1024):
                        peer.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)


# ── what it says of itself ──────────────────────────────────────────────────────────────────


def test_the_version_is_the_packages(capsys: Captured) -> None:
    """One line that scripts can read."""
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"wormkeyd {__version__}\n"


def test_help_names_every_option_its_variable_and_its_default(capsys: Captured) -> None:
    """The table of options is the documentation."""
    assert run(["--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    for option in OPTIONS:
        assert f"{option.flag} {option.metavar}" in out
        variables = ", else ".join(option.variables)
        assert f"[{variables}; default: {option.default}]" in out


@pytest.mark.parametrize(
    "arguments",
    [
        ["check"],
        ["healthcheck"],
        ["status"],
        ["token"],
        ["token", "add"],
        ["token", "list"],
        ["token", "revoke"],
    ],
)
def test_every_command_has_help(arguments: list[str], capsys: Captured) -> None:
    """Asked for, it goes to stdout with exit 0."""
    assert run([*arguments, "--help"]) == 0
    assert "Usage: wormkeyd" in capsys.readouterr().out


def test_main_exits_with_the_code(capsys: Captured) -> None:
    """The console script's entry."""
    with pytest.raises(SystemExit) as caught:
        main(["--no-such-option"])
    assert caught.value.code == 2
    assert only_line(capsys)


def test_help_is_quick() -> None:
    """Neither trio, a server library nor another command is imported for an error or check."""
    script = (
        "import sys; from wormkey.daemon import run; code = run(['check']);"
        "heavy = {'wormkey.install', 'wormkey.tokens', 'wormkey.status', 'trio', 'hypercorn',"
        " 'starlette', 'h11', 'wsproto', 'trio_websocket'};"
        "print(sorted(heavy & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(Path(daemon.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"


# ── what it refuses ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--no-such"], "No such option '--no-such'"),
        (["no-such"], "No such command 'no-such'"),
        (["--hold"], "Option '--hold' requires an argument"),
        (["--hold", "soon"], "--hold: 'soon' is not a duration"),
        (["--routing", "x"], "--routing: 'x' is not one of path, host"),
        (["--cors-origin", "*"], "--cors-origin: '*' is not a URL"),
        (["--config", "/no/such.toml"], "/no/such.toml: No such file or directory"),
        (["check", "--gateway", "x"], "--gateway: 'x' is not an address"),
        (["--gateway", "x", "check"], "--gateway: 'x' is not an address"),
        (["token"], "Missing command"),
        (["token", "add"], "Missing argument 'NAME'"),
        (["token", "list", "--store", "memory"], "--store memory keeps nothing outside"),
        (["token", "revoke", "a", "--store", "memory"], "--store memory keeps no state folder"),
        (["status", "--store", "memory"], "--store memory keeps no state folder"),
        (["healthcheck", "--control", ":0"], "healthcheck cannot know where :0 listens"),
        (["healthcheck", "--control", "fd:3"], "healthcheck cannot know where fd:3 listens"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    arguments: list[str], sentence: str, capsys: Captured
) -> None:
    """What was wrong, and where to read on."""
    assert run(arguments) == 2
    assert only_line(capsys).startswith(sentence)


def test_a_bad_variable_is_named(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The user sees where to look."""
    monkeypatch.setenv("WORMKEY_HEAD_TIMEOUT", "10")
    assert run(["check"]) == 2
    assert only_line(capsys).startswith("WORMKEY_HEAD_TIMEOUT: '10' is not a duration")


def test_an_unknown_key_is_named_with_the_nearest(tmp_path: Path, capsys: Captured) -> None:
    """One line for a slip in the file."""
    path = tmp_path / "wormkeyd.toml"
    path.write_text('head_timout = "10s"')
    assert run(["--config", str(path)]) == 2
    line = only_line(capsys)
    assert line == f"{path}: unknown key 'head_timout'; did you mean 'head_timeout'?"


def test_a_command_takes_options_before_and_after_its_name(capsys: Captured) -> None:
    """What stands nearer to the command wins."""
    assert run(["--hold", "soon", "check", "--hold", "1s"]) == 0
    assert capsys.readouterr().out == "the configuration is valid\n"


def test_check_warns_of_an_open_door(capsys: Captured) -> None:
    """Allowed, and probably not meant."""
    assert run(["check", "--gateway", ":3002", "--access", "open"]) == 0
    assert "everyone who reaches --gateway :3002 can create" in capsys.readouterr().err
    assert run(["check", "--gateway", ":3002", "--routing", "host"]) == 0
    assert capsys.readouterr().err == ""


# ── how the daemon ends ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ConfigError("the settings do not fit"), 2, "the settings do not fit"),
        (StoreError("the database is newer"), 1, "the database is newer"),
        (OSError(errno.EADDRINUSE, "a:1 is in use"), 1, "a:1 is in use"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), 1, "/x: Permission denied"),
        (OSError("odd"), 1, "odd"),
        (KeyboardInterrupt(), 130, None),
    ],
)
def test_what_ends_the_daemon_is_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
    error: BaseException,
    code: int,
    line: str | None,
) -> None:
    """Errors that an operator can act on come without a traceback."""

    async def serve(*_: object) -> None:
        raise error

    monkeypatch.setattr(nursery, "serve", serve)
    assert run([]) == code
    if line is None:
        assert "".join(capsys.readouterr()).strip() == ""
    else:
        assert only_line(capsys) == line


def test_an_unexpected_error_is_one_record(
    monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Our bug: exit 1, with the traceback in the log."""

    async def serve(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(nursery, "serve", serve)
    assert run(["--log-format", "json"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert '"event": "unexpected error"' in line
    assert "RuntimeError: a bug" in line


def test_the_daemon_gets_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the command line to the nursery, parsed."""
    served: list[Settings] = []

    async def serve(settings: Settings, _load: object, _inheritance: object) -> None:
        served.append(settings)

    monkeypatch.setattr(nursery, "serve", serve)
    assert run(["--hold", "0s", "--trusted-proxy", "::1", "--trusted-proxy", "10.0.0.0/8"]) == 0
    assert served[0].hold_s == 0
    assert [str(network) for network in served[0].trusted_proxies] == ["::1/128", "10.0.0.0/8"]


def test_a_port_in_use_is_one_line_and_exit_1(capsys: Captured) -> None:
    """Named, so that the user knows which."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert run(["--control", address, "--store", "memory"]) == 1
    assert only_line(capsys) == f"{address} is in use by another program"


# ── tokens and health ───────────────────────────────────────────────────────────────────────


def test_a_token_is_shown_once_listed_and_revoked(capsys: Captured) -> None:
    """The text on stdout alone; afterwards only its name is known."""
    assert run(["token", "add", "laptop"]) == 0
    out, err = capsys.readouterr()
    text = out.strip()
    assert len(text.split()) == 1
    assert text not in err
    assert run(["token", "list"]) == 0
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "CREATED", "LAST", "USED"]
    assert row.split()[0] == "laptop"
    assert row.split()[2] == "never"
    assert text not in row
    assert run(["token", "revoke", "laptop"]) == 0
    assert capsys.readouterr().out == "revoked laptop\n"
    assert run(["token", "list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_token_that_is_not_there_cannot_be_revoked(capsys: Captured) -> None:
    """Exit 1, since nothing was ended."""
    assert run(["token", "add", "somebody"]) == 0
    capsys.readouterr()
    assert run(["token", "revoke", "nobody"]) == 1
    assert only_line(capsys) == "there is no access token named 'nobody'"


@pytest.mark.parametrize("words", [["token", "list"], ["token", "revoke", "laptop"], ["audit"]])
def test_a_folder_without_a_store_is_not_the_daemons(
    words: list[str], tmp_path: Path, capsys: Captured
) -> None:
    """A slip in --state-dir is told, not answered with an empty list; nothing is made there."""
    folder = tmp_path / "elsewhere"
    assert run([*words, "--state-dir", str(folder)]) == 1
    store = folder / "wormkeyd.sqlite3"
    expected = f"{store} does not exist; name the daemon's folder with --state-dir"
    assert only_line(capsys) == expected
    assert not folder.exists()


def test_a_token_in_a_new_store_comes_with_a_warning(tmp_path: Path, capsys: Captured) -> None:
    """Before the first start it is meant; else the running daemon would never know the token."""
    folder = tmp_path / "new"
    expected = f"wormkeyd: warning: {folder} held no store and has a new one; "
    for name, warned in (("first", True), ("second", False)):
        assert run(["token", "add", name, "--state-dir", str(folder)]) == 0
        out, err = capsys.readouterr()
        assert out.startswith("wk_")
        assert (expected in err) is warned


@pytest.mark.parametrize("name", ["a b", ""])
def test_a_tokens_name_is_checked(name: str, capsys: Captured) -> None:
    """Usage, so exit 2."""
    assert run(["token", "add", name]) == 2
    assert only_line(capsys)


def test_a_healthy_daemon_is_healthy(capsys: Captured) -> None:
    """Both listeners answer 200."""
    with answering(b"HTTP/1.1 200 OK\r\n\r\nok") as port:
        arguments = ["--control", f"127.0.0.1:{port}", "--gateway", f":{port}"]
        assert run(["healthcheck", *arguments]) == 0
    assert capsys.readouterr().out == "healthy\n"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "answers /health with 503"),
        (b"", "answers /health with nothing"),
    ],
)
def test_an_unhealthy_daemon_says_which_part(answer: bytes, reason: str, capsys: Captured) -> None:
    """Exit 1 and the listener that failed first."""
    with answering(answer) as port:
        assert run(["healthcheck", "--control", f"127.0.0.1:{port}"]) == 1
    assert only_line(capsys) == f"the control plane at 127.0.0.1:{port} {reason}"


def test_a_daemon_that_is_not_there_is_not_healthy(tmp_path: Path, capsys: Captured) -> None:
    """Nobody listens."""
    address = f"unix:{tmp_path}/nobody"
    assert run(["healthcheck", "--control", address]) == 1
    assert only_line(capsys).startswith(f"the control plane at {address} does not accept")

"""local.py: the client's files keep their secrets, their content and each other's changes."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs
import pytest

from wormkey.errors import ConfigError
from wormkey.local import LocalFileError, LocalFiles, parse_token, write_file
from wormkey.records import SessionRecord, owned_by_this_process, process_start_of

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://localhost:3001"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
RECORD = SessionRecord(
    session_id="s-1",
    slug="demo",
    control_plane=URL,
    edge_url="ws://localhost:3002",
    url="http://localhost:3002/s/demo/",
    owner_url="http://localhost:3002/.wormkey/owner?slug=demo&token=canary-owner",
    session_token="demo.canary-session",
    expires_at="2030-01-02T00:00:00Z",
    target="http://localhost:5173",
)


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    """Return folders that do not exist yet, as on a fresh machine."""
    return LocalFiles(tmp_path / "config", tmp_path / "state", tmp_path / "daemon")


def dead_pid() -> int:
    """Return the number of a process that has ended and was waited for."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def mode_of(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)


def test_records_survive_and_lie_in_private_files(files: LocalFiles) -> None:
    """What was saved is read back; file 0600, folder 0700."""
    files.save_session(RECORD)
    assert files.read_sessions() == (RECORD,)
    assert mode_of(files.state_dir / "sessions.json") == 0o600
    assert mode_of(files.state_dir) == 0o700


def test_one_record_for_each_session(files: LocalFiles) -> None:
    """Saving again replaces, forgetting removes, forgetting twice is no error."""
    other = attrs.evolve(RECORD, session_id="s-2", slug="other")
    files.save_session(RECORD)
    files.save_session(other)
    newer = attrs.evolve(RECORD, target="http://localhost:8080")
    files.save_session(newer)
    assert files.read_sessions() == (other, newer)
    files.forget_session("s-1")
    files.forget_session("s-1")
    assert files.read_sessions() == (other,)


def test_no_file_is_no_session(files: LocalFiles) -> None:
    """An empty home has no sessions, no token, no configuration, and reading makes no file."""
    assert files.read_sessions() == ()
    assert files.read_token(URL) is None
    assert files.read_config() == {}
    assert files.read_daemon_token() is None
    assert files.forget_tokens() == []
    assert not files.state_dir.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_file_is_set_aside_not_lost(files: LocalFiles, content: bytes) -> None:
    """Damage costs no start: the file is kept under another name and a new one begun."""
    files.state_dir.mkdir()
    (files.state_dir / "sessions.json").write_bytes(content)
    assert files.read_sessions() == ()
    assert (files.state_dir / "sessions.json.damaged").read_bytes() == content
    files.save_session(RECORD)
    assert files.read_sessions() == (RECORD,)


@pytest.mark.parametrize(
    "entry",
    [
        None,
        {},
        {"session_id": "x"},
        {**attrs.asdict(RECORD), "pid": "1"},
        {**attrs.asdict(RECORD), "pid": True},
        {**attrs.asdict(RECORD), "url": 5},
        {**attrs.asdict(RECORD), "expires_at": None},
    ],
)
def test_records_that_make_no_sense_are_left_out(files: LocalFiles, entry: object) -> None:
    """One bad entry hides no good one, and unknown members of a newer version do not matter."""
    files.state_dir.mkdir()
    document = {"version": 1, "sessions": [entry, {**attrs.asdict(RECORD), "later": 1}]}
    (files.state_dir / "sessions.json").write_text(json.dumps(document))
    assert files.read_sessions() == (RECORD,)


def test_a_file_that_cannot_be_read_is_not_overwritten(files: LocalFiles) -> None:
    """An unreadable file is an error, never an empty list that is then written back."""
    (files.state_dir / "sessions.json").mkdir(parents=True)
    with pytest.raises(LocalFileError, match=r"sessions\.json"):
        files.save_session(RECORD)


def test_a_dead_clients_session_is_claimed_once(files: LocalFiles) -> None:
    """After a crash the name's record becomes this process's, and stays it."""
    files.save_session(attrs.evolve(RECORD, pid=dead_pid(), started="1"))
    claimed = files.claim_session(URL, "demo")
    assert claimed == owned_by_this_process(RECORD)
    assert files.read_sessions() == (claimed,)
    assert files.claim_session(URL, "demo") == claimed


def test_only_the_asked_name_at_the_asked_control_plane_is_claimed(files: LocalFiles) -> None:
    """The same name elsewhere is another session."""
    files.save_session(RECORD)
    assert files.claim_session(URL, "demos") is None
    assert files.claim_session("http://elsewhere:3001", "demo") is None
    assert files.read_sessions() == (RECORD,)


def test_a_living_clients_session_stays_its_own(files: LocalFiles) -> None:
    """A record whose process runs is returned as it stands."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        started = process_start_of(child.pid)
        assert started is not None
        theirs = attrs.evolve(RECORD, pid=child.pid, started=started)
        files.save_session(theirs)
        assert files.claim_session(URL, "demo") == theirs
        assert files.read_sessions()[0].running
        child.communicate(b"\n")
    assert not files.read_sessions()[0].running


def test_pruning_drops_what_is_both_dead_and_over(files: LocalFiles) -> None:
    """A record goes when nothing can use it any more."""
    over = attrs.evolve(RECORD, session_id="over", expires_at="2029-01-01T00:00:00Z")
    running = attrs.evolve(owned_by_this_process(over), session_id="running")
    for record in (RECORD, over, running):
        files.save_session(record)
    files.prune_sessions(NOW)
    assert [r.session_id for r in files.read_sessions()] == ["s-1", "running"]


def test_login_and_logout(files: LocalFiles) -> None:
    """Tokens are kept for each URL, privately; the last login is the default until it goes."""
    files.store_token(URL, "canary-1")
    files.store_token("https://t.example", "canary-2")
    assert files.read_token(URL) == "canary-1"
    assert files.read_default_control_plane() == "https://t.example"
    assert mode_of(files.config_dir / "credentials.json") == 0o600
    assert files.forget_tokens("https://t.example") == ["https://t.example"]
    assert files.read_default_control_plane() is None
    assert files.read_token(URL) == "canary-1"
    assert files.forget_tokens() == [URL]
    assert b"canary" not in (files.config_dir / "credentials.json").read_bytes()


def test_credentials_open_to_others_are_closed_again(files: LocalFiles) -> None:
    """A file that came back from a backup with loose modes is private after it was read."""
    files.store_token(URL, "canary")
    path = files.config_dir / "credentials.json"
    path.chmod(0o644)
    assert files.read_token(URL) == "canary"
    assert mode_of(path) == 0o600


def test_the_daemons_local_token(files: LocalFiles) -> None:
    """A daemon of the same user leaves a token; one that is no token is none."""
    files.daemon_state_dir.mkdir()
    path = files.daemon_state_dir / "local-token"
    path.write_text("abc-123\n")
    assert files.read_daemon_token() == "abc-123"
    path.write_text("two words\n")
    assert files.read_daemon_token() is None


def test_the_platforms_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folders follow the platform; the daemon's follows its own variable when it is set."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "s"))
    monkeypatch.delenv("WORMKEY_STATE_DIR", raising=False)
    usual = LocalFiles.of_user()
    monkeypatch.setenv("WORMKEY_STATE_DIR", str(tmp_path / "d"))
    assert LocalFiles.of_user() == attrs.evolve(usual, daemon_state_dir=tmp_path / "d")
    if sys.platform == "linux":
        assert usual == LocalFiles(
            tmp_path / "c/wormkey", tmp_path / "s/wormkey", tmp_path / "s/wormkeyd"
        )


def test_config_toml(files: LocalFiles) -> None:
    """config.toml's keys come out as they stand; what is no TOML is one clear line."""
    files.config_dir.mkdir()
    path = files.config_dir / "config.toml"
    path.write_text('name = "demo"\nqr = false\n')
    assert files.read_config() == {"name": "demo", "qr": False}
    for content in (b"name = ", b"\xff = 1"):
        path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            files.read_config()
        assert "config.toml" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "  \n", "two words", "line\nbreak", "naïve", "x" * 4097])
def test_what_no_token_can_be(text: str) -> None:
    """A token that could not travel in a field is refused early, and its text not shown."""
    with pytest.raises(ConfigError) as caught:
        parse_token(text)
    assert "words" not in str(caught.value)


def test_a_tokens_own_blanks_go() -> None:
    """A token file ends with a line feed, and that is fine."""
    assert parse_token(" abc.def-1 \r\n") == "abc.def-1"


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """Links keep pointing, no part is left over, a failure leaves the old content."""
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    link.symlink_to(real)
    write_file(link, b"new", durable=True)
    assert (link.is_symlink(), real.read_bytes(), mode_of(real)) == (True, b"new", 0o600)
    with pytest.raises(LocalFileError, match="absent"):
        write_file(tmp_path / "absent" / "x.json", b"")
    assert sorted(os.listdir(tmp_path)) == ["link.json", "real.json"]


def test_a_pipe_is_written_not_replaced(tmp_path: Path) -> None:
    """``--output`` may name a named pipe that a script reads."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(pipe, b"ready\n")
        assert os.read(reader, 100) == b"ready\n"
    finally:
        os.close(reader)

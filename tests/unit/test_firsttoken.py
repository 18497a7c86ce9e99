"""Credentials of the service manager: found, absent, unusable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from wormkey.access import new_token
from wormkey.errors import ConfigError
from wormkey.firsttoken import FIRST_TOKEN, read_first_token

if TYPE_CHECKING:
    from pathlib import Path


def test_a_made_token_is_read_back(tmp_path: Path) -> None:
    """What `wormkeyd install` writes; a line break at its end is no part of it."""
    token = new_token()
    (tmp_path / FIRST_TOKEN).write_text(token + "\n")
    assert read_first_token({"CREDENTIALS_DIRECTORY": str(tmp_path)}) == token


def test_without_a_credential_there_is_none(tmp_path: Path) -> None:
    """Not under systemd, or nothing passed: the daemon makes its own."""
    assert read_first_token({}) is None
    assert read_first_token({"CREDENTIALS_DIRECTORY": str(tmp_path)}) is None


@pytest.mark.parametrize(
    "content", [b"", b"hunter2", b"wk_short", b"wk_" + b"a" * 43 + b" b", b"\xff" * 60]
)
def test_what_is_no_token_is_refused_and_not_shown(content: bytes, tmp_path: Path) -> None:
    """A weak secret is worse than none; the sentence says how to make one."""
    (tmp_path / FIRST_TOKEN).write_bytes(content)
    with pytest.raises(ConfigError, match="is no access token: write wk_ and 43") as caught:
        read_first_token({"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert "hunter2" not in str(caught.value)


def test_an_unreadable_credential_is_named(tmp_path: Path) -> None:
    """By its file, with the reason."""
    (tmp_path / FIRST_TOKEN).mkdir()
    with pytest.raises(ConfigError, match=f"{FIRST_TOKEN}: Is a directory"):
        read_first_token({"CREDENTIALS_DIRECTORY": str(tmp_path)})

"""The state folder's lock: one daemon at a time, however the last one ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.process import SOURCE
from wormkey.errors import StoreError
from wormkey.statefolder import (
    LOCK_FILE,
    SIGNING_KEY_FILE,
    lock_state_folder,
    read_signing_key,
)

if TYPE_CHECKING:
    from pathlib import Path

HOLDER = """
import sys, time
from pathlib import Path
from wormkey.statefolder import lock_state_folder
with lock_state_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_second_holder_is_refused_by_name(tmp_path: Path) -> None:
    """The message says which process has the folder and what to do."""
    folder = tmp_path / "state"
    with (
        lock_state_folder(folder),
        pytest.raises(
            StoreError, match=rf"process {os.getpid()}\) uses this state folder; .*--state-dir"
        ),
        lock_state_folder(folder),
    ):
        pytest.fail("two hold it")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / LOCK_FILE).stat().st_mode & 0o777 == 0o600


def test_folder_is_free_afterwards(tmp_path: Path) -> None:
    """The file that stays behind holds nobody up."""
    for _ in range(2):
        with lock_state_folder(tmp_path):
            pass


def test_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """A process that dies without a word gives the folder back."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(StoreError, match=rf"process {holder.pid}\)"),
            lock_state_folder(tmp_path),
        ):
            pytest.fail("two hold it")
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with lock_state_folder(tmp_path):
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    """One sentence that names the option."""
    (tmp_path / "state").write_text("")
    with (
        pytest.raises(StoreError, match="--state-dir"),
        lock_state_folder(tmp_path / "state"),
    ):
        pytest.fail("a file is no folder")


def test_the_signing_key_is_made_once_and_kept_private(tmp_path: Path) -> None:
    """Cookies outlive a restart; nobody else reads what signs them."""
    key = read_signing_key(tmp_path)
    assert read_signing_key(tmp_path) == key
    assert (tmp_path / SIGNING_KEY_FILE).stat().st_mode & 0o777 == 0o600
    (tmp_path / SIGNING_KEY_FILE).unlink()
    assert read_signing_key(tmp_path) != key


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "00" * 31])
def test_a_damaged_key_is_refused_by_name(tmp_path: Path, text: str) -> None:
    """A short key would sign, and could be guessed."""
    (tmp_path / SIGNING_KEY_FILE).write_text(text)
    with pytest.raises(StoreError, match=SIGNING_KEY_FILE):
        read_signing_key(tmp_path)


def test_a_lock_is_shared_with_who_inherits_it(tmp_path: Path) -> None:
    """The heir holds what its predecessor holds; the folder is free when both have let go."""
    with lock_state_folder(tmp_path) as lock:
        heir = os.dup(lock)
        with lock_state_folder(tmp_path, heir):
            pass
        with pytest.raises(StoreError), lock_state_folder(tmp_path):
            pass
    with lock_state_folder(tmp_path):
        pass

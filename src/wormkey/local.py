"""What the client keeps on this machine: config.toml, credentials and the sessions it runs.

Secrets lie in files of mode 0600 in folders of mode 0700 and are written whole or not at all. A
session's record outlives its process on purpose: that is how a client that crashed comes back to
the same URL. No network and no trio here; the files are small and read at start.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import stat
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import platformdirs
from attrs import frozen

from wormkey.errors import ConfigError, WormkeyError
from wormkey.records import SessionRecord, owned_by_this_process, records_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

_log = logging.getLogger(__name__)

MAX_FILE_BYTES: Final = 4 * 1024 * 1024  # ten thousand sessions; a longer file is not ours
MAX_TOKEN_CHARS: Final = 4096
_FORMAT: Final = 1
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700


class LocalFileError(WormkeyError):
    """A file of the client could not be read or written; the message names it and says why."""


@frozen
class LocalFiles:
    """The client's folders; every method reads or writes at once and keeps nothing in memory."""

    config_dir: Path
    state_dir: Path
    daemon_state_dir: Path

    @classmethod
    def of_user(cls) -> LocalFiles:
        """Return the platform's folders for this user (on Linux the XDG ones)."""
        own = os.environ.get("WORMKEY_STATE_DIR")  # a daemon started from this same environment
        return cls(
            config_dir=Path(platformdirs.user_config_dir("wormkey", appauthor=False)),
            state_dir=Path(platformdirs.user_state_dir("wormkey", appauthor=False)),
            daemon_state_dir=Path(own or platformdirs.user_state_dir("wormkeyd", appauthor=False)),
        )

    # ── config.toml ─────────────────────────────────────────────────────────────────────────

    def read_config(self) -> dict[str, object]:
        """Return config.toml's keys; empty where there is no file.

        Raises:
            ConfigError: it cannot be read or is not TOML.
        """
        path = self.config_dir / "config.toml"
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"{path}: {_why(error)}") from error
        import tomllib  # noqa: PLC0415 - most users have no file; the parser costs 2 ms of start

        try:
            return tomllib.loads(content.decode("utf-8"))
        except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are both one
            raise ConfigError(f"{path}: {error}") from error

    # ── credentials ─────────────────────────────────────────────────────────────────────────

    def read_token(self, control_plane: str) -> str | None:
        """Return the token that ``login`` stored for this control plane.

        Raises:
            LocalFileError: the credentials cannot be read.
        """
        tokens = self._read_credentials().get("tokens")
        token = tokens.get(control_plane) if isinstance(tokens, dict) else None
        return token if isinstance(token, str) else None

    def read_default_control_plane(self) -> str | None:
        """Return the control plane of the last ``login``.

        Raises:
            LocalFileError: the credentials cannot be read.
        """
        url = self._read_credentials().get("control_plane")
        return url if isinstance(url, str) else None

    def store_token(self, control_plane: str, token: str) -> None:
        """Keep a token and make its control plane the default one.

        Raises:
            LocalFileError: it could not be written.
        """
        with self._locked(self.config_dir):
            tokens = self._read_credentials().get("tokens")
            known = dict(tokens) if isinstance(tokens, dict) else {}
            known[control_plane] = token
            self._write_credentials(control_plane, known)

    def forget_tokens(self, control_plane: str | None = None) -> list[str]:
        """Drop the token of one control plane, or all; return the URLs that had one.

        Raises:
            LocalFileError: it could not be written.
        """
        with self._locked(self.config_dir):
            tokens = self._read_credentials().get("tokens")
            known = dict(tokens) if isinstance(tokens, dict) else {}
            gone = [url for url in known if control_plane in (None, url)]
            for url in gone:
                del known[url]
            if gone:
                default = self.read_default_control_plane()
                self._write_credentials(default if default in known else None, known)
            return gone

    def read_daemon_token(self) -> str | None:
        """Return the access token that a daemon of this same user keeps for local clients."""
        path = self.daemon_state_dir / "local-token"
        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_uid != os.geteuid():
                    return None  # someone else's daemon: its token is not ours to send
                return parse_token(file.read(MAX_TOKEN_CHARS + 2).decode("ascii", "replace"))
        except (OSError, ConfigError):
            return None

    # ── sessions.json ───────────────────────────────────────────────────────────────────────

    def read_sessions(self) -> tuple[SessionRecord, ...]:
        """Return the records, oldest first; a file that cannot be understood is set aside.

        Raises:
            LocalFileError: the file cannot be read.
        """
        return records_of(_read_object(self.state_dir / "sessions.json"))

    def save_session(self, record: SessionRecord) -> None:
        """Add a record, or replace the one with the same session id.

        Raises:
            LocalFileError: it could not be written.
        """

        def change(records: tuple[SessionRecord, ...]) -> tuple[SessionRecord, ...]:
            return (*(r for r in records if r.session_id != record.session_id), record)

        self._change_sessions(change)

    def forget_session(self, session_id: str) -> None:
        """Drop a record; nothing happens where there is none.

        Raises:
            LocalFileError: it could not be written.
        """
        self._change_sessions(
            lambda records: tuple(r for r in records if r.session_id != session_id)
        )

    def claim_session(self, control_plane: str, slug: str) -> SessionRecord | None:
        """Return the newest record of this name, made this process's own if its process is dead.

        The caller compares ``pid`` with its own: another one is alive and serves the session.
        Claiming is one locked step, so of two clients that start at once only one resumes.

        Raises:
            LocalFileError: it could not be written.
        """
        found: SessionRecord | None = None

        def change(records: tuple[SessionRecord, ...]) -> tuple[SessionRecord, ...]:
            nonlocal found
            for record in records:
                if (record.control_plane, record.slug) == (control_plane, slug):
                    found = record
            if found is None or found.running:
                return records
            kept = tuple(r for r in records if r is not found)
            found = owned_by_this_process(found)
            return (*kept, found)

        self._change_sessions(change)
        return found

    def prune_sessions(self, now: datetime) -> None:
        """Drop the records whose process is gone and whose time is over.

        Raises:
            LocalFileError: it could not be written.
        """
        self._change_sessions(
            lambda records: tuple(r for r in records if r.running or not r.expired(now))
        )

    # ── below the surface ───────────────────────────────────────────────────────────────────

    def _change_sessions(
        self, change: Callable[[tuple[SessionRecord, ...]], tuple[SessionRecord, ...]]
    ) -> None:
        with self._locked(self.state_dir):
            before = self.read_sessions()
            after = change(before)
            if after != before:
                document = {"version": _FORMAT, "sessions": [attrs.asdict(r) for r in after]}
                write_file(self.state_dir / "sessions.json", _dump(document))

    def _read_credentials(self) -> dict[str, Any]:
        return _read_object(self.config_dir / "credentials.json")

    def _write_credentials(self, control_plane: str | None, tokens: dict[str, Any]) -> None:
        document = {"version": _FORMAT, "control_plane": control_plane, "tokens": tokens}
        write_file(self.config_dir / "credentials.json", _dump(document), durable=True)

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        """Hold the folder's lock; the kernel lets it go with the process, however that ends."""
        try:
            folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
            if folder == self.state_dir:
                folder.chmod(_PRIVATE_FOLDER)
            lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _PRIVATE_FILE)
        except OSError as error:
            raise LocalFileError(f"{folder}: {_why(error)}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def parse_token(text: str) -> str:
    """Return a bearer token without the blanks around it (RFC 6750 §2.1: visible ASCII).

    Raises:
        ConfigError: it is empty, too long or has characters that no token has.
    """
    token = text.strip()
    if not token:
        raise ConfigError("the token is empty")
    if len(token) > MAX_TOKEN_CHARS or not all("!" <= mark <= "~" for mark in token):
        raise ConfigError("the token has blanks, line breaks or characters that no token has")
    return token


def read_token_file(path: Path) -> str:
    """Return the token that a file holds, such as a mounted secret.

    Raises:
        ConfigError: it cannot be read or holds no token.
    """
    try:
        with path.open("rb") as file:
            return parse_token(file.read(MAX_TOKEN_CHARS + 2).decode("utf-8", "replace"))
    except OSError as error:
        raise ConfigError(f"{path}: {_why(error)}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def write_file(path: Path, content: bytes, *, durable: bool = False) -> None:
    """Replace a file at once and privately (0600): a reader sees the old content or the new.

    ``durable`` waits for the disk too; without it a power cut may lose the change, a crash of
    this process does not. Where the path is a device or a pipe it is written straight.

    Raises:
        LocalFileError: it could not be written; the old content stands.
    """
    path = Path(os.path.realpath(path))  # a link keeps pointing where it points
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and not stat.S_ISREG(path.stat().st_mode):
            path.write_bytes(content)
            return
        part.unlink(missing_ok=True)
        with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE_FILE), "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        try:
            part.unlink(missing_ok=True)
        except OSError:
            pass  # the first error is the one to tell
        raise LocalFileError(f"{path}: {_why(error)}") from error


def _read_object(path: Path) -> dict[str, Any]:
    """Return a JSON object; empty where the file is absent or was damaged and set aside.

    Raises:
        LocalFileError: there is a file and it cannot be read; it must not be overwritten then.
    """
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                os.fchmod(file.fileno(), _PRIVATE_FILE)  # a restored backup, say: close it again
            content = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise LocalFileError(f"{path}: {_why(error)}") from error
    try:
        document = json.loads(content) if len(content) <= MAX_FILE_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if isinstance(document, dict):
        return document
    aside = path.with_name(f"{path.name}.damaged")
    try:
        path.replace(aside)
    except OSError as error:
        _log.warning("%s is damaged: %s", path, _why(error))
    else:
        _log.warning("%s was damaged and is now %s", path, aside)
    return {}


def _dump(document: object) -> bytes:
    return json.dumps(document, indent=2).encode("utf-8") + b"\n"


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()

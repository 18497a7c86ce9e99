"""A stolen store opens nothing: no secret stands in it in any form, and digests are no secrets."""

from __future__ import annotations

import base64
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import trio

from tests.support.process import DAEMON, Daemon, run, running_daemon
from tests.support.viewer import open_viewer
from tests.support.world import call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHOSEN_PASSWORD = "correct horse battery staple"
OPTIONS = ("--access", "token")


def forms_of(secret: str) -> Iterator[bytes]:
    """Yield what a secret looks like as text, as bytes, and in the usual encodings."""
    texts = [secret.encode()]
    bare = secret.removeprefix("wk_")
    if len(bare) >= 24 and " " not in bare:  # base64url of random bytes
        texts.append(base64.urlsafe_b64decode(bare + "=" * (-len(bare) % 4)))
    for text in texts:
        yield text
        yield text.hex().encode()
        yield text.hex().upper().encode()
        yield base64.b64encode(text).rstrip(b"=")
        yield base64.urlsafe_b64encode(text).rstrip(b"=")
        yield text.decode("latin-1").encode("utf-16-le")


def spellings(digest: bytes) -> list[str]:
    """Return the forms in which a thief would present a digest as a token."""
    return [
        digest.hex(),
        base64.b64encode(digest).decode(),
        base64.urlsafe_b64encode(digest).decode().rstrip("="),
        "wk_" + base64.urlsafe_b64encode(digest).decode().rstrip("="),
    ]


async def create(daemon: Daemon, token: str, **wish: Any) -> dict[str, Any]:
    """Make a session."""
    body = {"port": 1, **wish}
    status, made = await call(daemon.control, "POST", "/sessions", token=token, body=body)
    assert status == 201, made
    return dict(made)


async def ask(
    address: tuple[str, int], target: str, authorization: str, host: str = "localhost"
) -> int:
    """Ask with an Authorization field; return the status."""
    viewer = await open_viewer(*address, f"{host}:{address[1]}".encode())
    fields = [(b"Authorization", authorization.encode("latin-1"))]
    answer = await viewer.exchange(target.encode(), fields=fields)
    await viewer.aclose()
    return answer.status


async def make_victims(home: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Let a daemon make sessions and tokens and be killed; return them and all their secrets."""
    state = ("--state-dir", str(home / "daemon"))
    async with running_daemon(home, *OPTIONS) as daemon:
        token = (home / "daemon" / "local-token").read_text().strip()
        code, out, _ = await run((*DAEMON, "token", "add", "laptop", *state), home)
        assert code == 0
        made = [
            await create(daemon, token),
            await create(daemon, token, authMode="basic"),
            await create(daemon, token, authMode="basic", password=CHOSEN_PASSWORD),
        ]
        await daemon.process.end(signal.SIGKILL)  # the log stays behind, too
    secrets = [token, out.strip()]
    for each in made:
        secrets.append(each["sessionToken"].partition(".")[2])
        secrets.append(each["ownerUrl"].rpartition("token=")[2])
        secrets += [each["password"]] if "password" in each else []
    return made, secrets


async def test_no_secret_stands_in_any_file(tmp_path: Path) -> None:
    """Every byte of the database, its log and its index is searched for every secret's forms."""
    with trio.fail_after(30):
        made, secrets = await make_victims(tmp_path)
    assert len(secrets) == 10
    assert CHOSEN_PASSWORD in secrets
    found = (tmp_path / "daemon").glob("wormkeyd.*")
    files = sorted(each for each in found if each.is_file())  # the admin socket holds nothing
    suffixes = [each.name for each in files]
    assert {"wormkeyd.sqlite3", "wormkeyd.sqlite3-wal"} <= set(suffixes)
    content = b"".join(each.read_bytes() for each in files)
    for each in made:
        assert each["slug"].encode() in content  # it is the right store
    for secret in secrets:
        for form in forms_of(secret):
            assert form not in content


async def test_digests_open_nothing(tmp_path: Path) -> None:
    """What the store does hold, presented as a token or password in any spelling, is refused."""
    with trio.fail_after(60):
        made, _ = await make_victims(tmp_path)
        async with running_daemon(tmp_path, *OPTIONS) as daemon:
            with closing(sqlite3.connect(tmp_path / "daemon" / "wormkeyd.sqlite3")) as connection:
                sessions = connection.execute(
                    "SELECT session_id, slug, session_token_digest, owner_token_digest, "
                    "password_hash FROM session"
                ).fetchall()
                tokens = connection.execute("SELECT digest FROM access_token").fetchall()
            assert (len(sessions), len(tokens)) == (len(made), 2)
            for session_id, slug, session_digest, owner_digest, password_hash in sessions:
                path, asked = f"/sessions/{session_id}", 0
                for spelling in (*spellings(session_digest), *spellings(owner_digest)):
                    for token in (spelling, f"{slug}.{spelling}"):
                        status = await ask(daemon.control, path, f"Bearer {token}")
                        assert status in (401, 429), (spelling, status)
                        status = await ask(daemon.gateway, "/tunnel", f"Bearer {token}")
                        assert status != 101
                        asked += 1
                assert asked == 16
                if password_hash is not None:
                    basic = base64.b64encode(f"worm:{password_hash}".encode()).decode()
                    host = f"{slug}.localhost"
                    status = await ask(daemon.gateway, "/", f"Basic {basic}", host)
                    assert status == 401
            for (digest,) in tokens:
                for spelling in spellings(digest):
                    status, _ = await call(
                        daemon.control, "POST", "/sessions", token=spelling, body={"port": 1}
                    )
                    assert status in (401, 429)

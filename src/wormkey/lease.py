"""Getting, resuming and ending a session at the control plane, with its record on this machine.

The record is written before the tunnel opens, so that a client killed at any moment can come back
to its URL. Nothing the server says is believed without a look: it ends up on a terminal, on
stdout and in files.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import attrs
import trio
from attrs import field, frozen

from wormkey import api
from wormkey.errors import ConfigError
from wormkey.exits import ExitCode, Failure, failure_of, no_control_plane
from wormkey.local import LocalFileError, LocalFiles, parse_token
from wormkey.records import SessionRecord, owned_by_this_process
from wormkey.target import Target
from wormkey.terminal import printable
from wormkey.values import goes_in_the_clear, is_loopback

if TYPE_CHECKING:
    from wormkey.terminal import Console

NOT_READY_TIMEOUT_S: Final = 20.0  # a daemon that restarts answers 503 for a few seconds
_NOT_READY_PAUSE_S: Final = 0.5
_GONE: Final = (401, 404, 410)  # what a session token is told about a session that is no more


@frozen(kw_only=True)
class BasicAuth:
    """Credentials that viewers must give; None leaves the choice to the server."""

    username: str | None = None
    password: str | None = field(default=None, repr=False)


@frozen(kw_only=True)
class SessionWish:
    """What a user asks a control plane for. ``expires`` is text such as 30m; URLs are canonical."""

    target: Target
    control_plane: str
    edge_url: str | None = None
    token: str | None = field(default=None, repr=False)
    name: str | None = None
    auth: BasicAuth | None = None
    expires: str | None = None
    policy: Mapping[str, object] = field(factory=dict, repr=False)  # may hold a password
    host_header: str = "rewrite"


@frozen
class Lease:
    """A live session and whether an earlier process had it."""

    record: SessionRecord
    resumed: bool


async def obtain_session(wish: SessionWish, files: LocalFiles, console: Console) -> Lease:
    """Return a live session: the one of this name that a dead client left, or a new one.

    Raises:
        Failure: the control plane is away or says no, or the name is in use on this machine.

    Cancellation: a session whose creation was on the way may exist at the server.
    """
    record = await _resume(wish, files, console)
    if record is not None:
        return Lease(record, resumed=True)
    record = await _create(wish)
    if wish.edge_url is None:
        reason = why_not_there(wish.control_plane, record.edge_url)
        if reason is not None:
            with suppress(Failure):
                await ask(record.control_plane, "DELETE", record, record.session_token)
            raise Failure(ExitCode.CONTROL_PLANE_UNREACHABLE, f"{reason}; --edge overrides it")
    if goes_in_the_clear(record.edge_url):
        console.warn(f"the way to {record.edge_url} is not encrypted: who is on it can read along")
    _save(record, files, console)
    return Lease(record, resumed=False)


def why_not_there(control_plane: str, edge_url: str) -> str | None:
    """Say why a gateway that a control plane names is not believed; None where it is.

    A server elsewhere cannot mean this machine, and one that was reached over TLS has no reason
    to have the session's token sent in clear. Either is a mistake of its operator, or an attempt
    to make this machine knock at its own doors.
    """
    parts = urlsplit(edge_url)
    if parts.scheme not in ("ws", "wss") or "@" in parts.netloc or parts.query or parts.fragment:
        return f"{control_plane} names a gateway that cannot be used: {edge_url!r}"
    if is_loopback(edge_url) and not is_loopback(control_plane):
        return (
            f"{control_plane} says that its gateway is {edge_url}, which is this machine: "
            "its operator sets --public-url"
        )
    if control_plane.startswith("https://") and goes_in_the_clear(edge_url):
        return (
            f"{control_plane} says that its gateway is {edge_url}, without TLS: "
            "its operator sets --edge-url to wss://"
        )
    return None


async def end_session(record: SessionRecord, files: LocalFiles) -> None:
    """Close a session at the server and drop its record; one that is over already is fine.

    Raises:
        Failure: the server did not do it; the record stays, so that it can be tried again.
        LocalFileError: closed, but the record could not be dropped.

    Cancellation: whether the session is closed is then unknown; the record stays.
    """
    answer = await ask(record.control_plane, "DELETE", record, record.session_token)
    if not answer.ok and answer.status not in _GONE:
        raise failure_of(answer, record.control_plane)
    files.forget_session(record.session_id)


async def ask(control_plane: str, method: str, record: SessionRecord, token: str) -> api.ApiAnswer:
    """Return the answer to a call about one session.

    Raises:
        Failure: the control plane gave no answer.

    Cancellation: as api.call().
    """
    try:
        return await api.call(control_plane, method, f"/sessions/{record.session_id}", token=token)
    except api.ApiUnreachable as error:
        raise no_control_plane(str(error)) from error


def is_live(answer: api.ApiAnswer) -> bool:
    """Tell whether the answer to ``GET /sessions/{id}`` describes a session that still serves."""
    if not answer.ok or not isinstance(answer.json, dict) or answer.json.get("closed"):
        return False
    try:
        return datetime.fromisoformat(answer.text("expiresAt")) > datetime.now(UTC)
    except (ValueError, TypeError):
        return True  # without a readable time the server's word alone counts


async def _resume(wish: SessionWish, files: LocalFiles, console: Console) -> SessionRecord | None:
    if wish.name is None:
        return None
    try:
        record = files.claim_session(wish.control_plane, wish.name)
    except LocalFileError as error:
        console.warn(f"sessions of earlier clients cannot be resumed: {error}")
        return None
    if record is None:
        return None
    if record != owned_by_this_process(record):
        raise Failure(
            ExitCode.REFUSED,
            f"{wish.name} is already served by process {record.pid} here, for {record.target}; "
            f"`wormkey close {wish.name}` ends it",
        )
    answer = await ask(wish.control_plane, "GET", record, record.session_token)
    if answer.status not in _GONE and not answer.ok:
        raise failure_of(answer, wish.control_plane)
    if not is_live(answer):
        files.forget_session(record.session_id)
        return None
    _check_same_protection(wish, record)
    if wish.policy:
        await _set_policy(wish, record)
    if wish.expires is not None:
        console.say(f"{wish.name} is resumed and keeps its end: --expires has no effect")
    return _retargeted(wish, record, files, console)


async def _set_policy(wish: SessionWish, record: SessionRecord) -> None:
    """Give a resumed session the rules that are asked for now."""
    token = parse_qs(urlsplit(record.owner_url).query).get("token", [""])[0]
    path = f"/sessions/by-slug/{record.slug}/policy"
    try:
        answer = await api.call(
            wish.control_plane, "POST", path, token=token, body=dict(wish.policy)
        )
    except api.ApiUnreachable as error:
        raise no_control_plane(str(error)) from error
    if not answer.ok:
        raise failure_of(answer, wish.control_plane)


def _check_same_protection(wish: SessionWish, record: SessionRecord) -> None:
    """Refuse to serve with less protection than was asked for."""
    if wish.auth is None:
        return
    asked = (wish.auth.username, wish.auth.password)
    kept = (record.username, record.password)
    if record.password is None or any(
        wanted not in (None, has) for wanted, has in zip(asked, kept, strict=True)
    ):
        raise Failure(
            ExitCode.REFUSED,
            f"the session of {record.slug} was started without this --auth; "
            f"`wormkey close {record.slug}` ends it, then try again",
        )


def _retargeted(
    wish: SessionWish, record: SessionRecord, files: LocalFiles, console: Console
) -> SessionRecord:
    new = attrs.evolve(
        record,
        target=str(wish.target),
        host_header=wish.host_header,
        edge_url=wish.edge_url or record.edge_url,
    )
    _save(new, files, console)
    return new


def _save(record: SessionRecord, files: LocalFiles, console: Console) -> None:
    try:
        files.save_session(record)
    except LocalFileError as error:
        console.warn(f"this session cannot be resumed or closed by name: {error}")


async def _create(wish: SessionWish) -> SessionRecord:
    answer = await _ask_until_ready(wish)
    if not answer.ok:
        raise failure_of(answer, wish.control_plane, of_session=False)
    texts = {
        name: answer.text(name)
        for name in ("sessionId", "slug", "publicUrl", "ownerUrl", "sessionToken", "expiresAt")
    }
    edge_url = wish.edge_url or answer.text("edgeUrl")
    username, password = answer.text("username"), answer.text("password")
    sound = (
        all(text and _is_plain(text) for text in texts.values())
        and texts["publicUrl"].startswith(("http://", "https://"))
        and texts["ownerUrl"].startswith(("http://", "https://"))
        and edge_url.startswith(("ws://", "wss://"))
        and _is_plain(edge_url)
        and _is_token(texts["sessionToken"])
        and (wish.auth is None or bool(password or wish.auth.password))
    )
    if not sound:
        raise Failure(
            ExitCode.CONTROL_PLANE_UNREACHABLE,
            f"what answers at {wish.control_plane} is no Wormkey control plane: its answer to "
            "POST /sessions has no session in it",
        )
    auth = wish.auth
    return owned_by_this_process(
        SessionRecord(
            session_id=texts["sessionId"],
            slug=texts["slug"],
            control_plane=wish.control_plane,
            edge_url=edge_url,
            url=texts["publicUrl"],
            owner_url=texts["ownerUrl"],
            session_token=texts["sessionToken"],
            expires_at=texts["expiresAt"],
            target=str(wish.target),
            host_header=wish.host_header,
            username=None if auth is None else printable(username) or auth.username,
            password=None if auth is None else printable(password) or auth.password,
        )
    )


async def _ask_until_ready(wish: SessionWish) -> api.ApiAnswer:
    body = _body_of(wish)
    deadline = trio.current_time() + NOT_READY_TIMEOUT_S
    while True:
        try:
            answer = await api.call(
                wish.control_plane, "POST", "/sessions", token=wish.token, body=body
            )
        except api.ApiUnreachable as error:
            raise no_control_plane(str(error)) from error
        pause_s = answer.retry_after_s or _NOT_READY_PAUSE_S
        if answer.status != 503 or trio.current_time() + pause_s > deadline:
            return answer
        await trio.sleep(pause_s)


def _body_of(wish: SessionWish) -> dict[str, object]:
    body: dict[str, object] = {
        "port": wish.target.port,
        "authMode": "none" if wish.auth is None else "basic",
    }
    optional: dict[str, object] = {"name": wish.name, "expiresIn": wish.expires}
    if wish.policy:
        optional["policy"] = dict(wish.policy)
    if wish.auth is not None:
        optional |= {"username": wish.auth.username, "password": wish.auth.password}
    body.update({name: value for name, value in optional.items() if value is not None})
    return body


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


def _is_token(text: str) -> bool:
    try:
        parse_token(text)
    except ConfigError:
        return False
    return True

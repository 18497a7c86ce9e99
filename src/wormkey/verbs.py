"""The verbs beside expose: status, list, close, login, logout.

What scripts read goes to stdout, as a table or as JSON; what people read to stderr. No answer
shows a token.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import trio

from wormkey import api
from wormkey.exits import ExitCode, Failure, failure_of, no_control_plane
from wormkey.lease import ask, end_session, is_live
from wormkey.terminal import printable

if TYPE_CHECKING:
    from wormkey.local import LocalFiles
    from wormkey.records import SessionRecord
    from wormkey.terminal import Console


def list_sessions(files: LocalFiles, *, as_json: bool) -> ExitCode:
    """Print the sessions that this machine knows, without asking any server.

    Raises:
        LocalFileError: sessions.json cannot be read.
    """
    files.prune_sessions(datetime.now(UTC))
    _print([_facts_of(record) for record in files.read_sessions()], as_json=as_json)
    return ExitCode.DONE


async def show_status(files: LocalFiles, slug: str | None, *, as_json: bool) -> ExitCode:
    """Print what the control plane says about this machine's sessions, or about one.

    Raises:
        Failure: the slug is not known here.
        LocalFileError: sessions.json cannot be read.

    Cancellation: prints nothing.
    """
    records = _choose(files, slug)
    states: dict[str, str] = {}

    async def find_state(record: SessionRecord) -> None:
        try:
            answer = await ask(record.control_plane, "GET", record, record.session_token)
        except Failure:
            states[record.session_id] = "unreachable"
            return
        states[record.session_id] = "live" if is_live(answer) else "ended"

    async with trio.open_nursery() as nursery:
        for record in records:
            nursery.start_soon(find_state, record)
    _print(
        [_facts_of(record) | {"state": states[record.session_id]} for record in records],
        as_json=as_json,
    )
    if "unreachable" in states.values():
        return ExitCode.CONTROL_PLANE_UNREACHABLE
    if slug is not None and "live" not in states.values():
        return ExitCode.SESSION_ENDED
    return ExitCode.DONE


async def close_sessions(
    files: LocalFiles, console: Console, slug: str | None, *, every: bool
) -> ExitCode:
    """Close one session, the only one, or all; their clients then end with exit code 14.

    Raises:
        Failure: the slug is not known here, it is not clear which one is meant, or a server did
            not do it (the others are closed all the same).
        LocalFileError: sessions.json cannot be read or written.

    Cancellation: what was closed stays closed.
    """
    records = _choose(files, slug, "its owner URL, in a browser, closes one of another machine")
    if slug is None and not every and len(records) > 1:
        names = ", ".join(record.slug for record in records)
        raise Failure(ExitCode.USAGE, f"which one? {names}; name it or say --all")
    if not records:
        console.say("no sessions here")
    failure: Failure | None = None
    for record in records:
        try:
            await end_session(record, files)
        except Failure as error:
            failure = Failure(error.exit_code, f"{record.slug} is not closed: {error}")
            continue
        console.say(f"closed {record.slug}")
    if failure is not None:
        raise failure
    return ExitCode.DONE


async def login(files: LocalFiles, console: Console, control_plane: str, token: str) -> ExitCode:
    """Check a token at its control plane and keep it for the next commands.

    Raises:
        Failure: the control plane is away or does not accept the token.
        LocalFileError: it could not be kept.

    Cancellation: nothing is kept.
    """
    try:
        answer = await api.call(control_plane, "GET", "/access", token=token)
    except api.ApiUnreachable as error:
        raise no_control_plane(str(error)) from error
    if answer.status in (401, 403):
        raise Failure(ExitCode.NOT_AUTHORISED, f"{control_plane} does not accept this token")
    if not answer.ok:
        raise failure_of(answer, control_plane, of_session=False)
    files.store_token(control_plane, token)
    name = printable(answer.text("name")[:100])
    console.say(
        f"logged in at {control_plane}{f' as {name}' if name else ''}; "
        "from now on it is the default control plane"
    )
    return ExitCode.DONE


def logout(files: LocalFiles, console: Console, control_plane: str | None) -> ExitCode:
    """Forget the token of one control plane, or all tokens; sessions live on.

    Raises:
        LocalFileError: the credentials could not be written.
    """
    gone = files.forget_tokens(control_plane)
    console.say(f"forgot the token of {', '.join(gone)}" if gone else "no token is stored here")
    return ExitCode.DONE


def _choose(files: LocalFiles, slug: str | None, hint: str = "") -> list[SessionRecord]:
    files.prune_sessions(datetime.now(UTC))
    records = [record for record in files.read_sessions() if slug in (None, record.slug)]
    if slug is not None and not records:
        sentence = f"no session {slug!r} here; `wormkey list` shows all"
        raise Failure(ExitCode.SESSION_ENDED, f"{sentence}; {hint}" if hint else sentence)
    return records


def _facts_of(record: SessionRecord) -> dict[str, object]:
    running = record.running
    return {
        "slug": record.slug,
        "url": record.url,
        "target": record.target,
        "host_header": record.host_header,
        "control_plane": record.control_plane,
        "expires_at": record.expires_at,
        "pid": record.pid if running else None,
    }


def _print(facts: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts))
        return
    shown = ("slug", "state", "url", "target", "host_header", "pid", "expires_at")
    columns = [name for name in shown if any(name in row for row in facts)]
    rows = [[name.replace("_", " ").upper() for name in columns]] if facts else []
    rows += [["-" if row[name] is None else str(row[name]) for name in columns] for row in facts]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())

"""Whether the local app is there: one look before the tunnel opens, or many with --wait-for.

The tunnel's own requests go through origin.py; here is only the question that a user is told the
answer of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from wormkey.errors import OriginError
from wormkey.http1 import Http1Limits
from wormkey.http1_origin import OriginConnection

if TYPE_CHECKING:
    from wormkey.dialer import Dialer
    from wormkey.target import Target

POLL_INTERVAL_S: Final = 0.2  # a dev server takes seconds to start; a fifth more is not felt
ANSWER_TIMEOUT_S: Final = 10.0  # the first request makes a dev server compile; then ask again


async def why_not_listening(dialer: Dialer) -> str | None:
    """Return None if something accepts connections there, else a sentence for the user.

    No request is made: an app counts its requests, connections it does not.

    Cancellation: safe; drops the connection.
    """
    try:
        stream = await dialer.dial()
    except OriginError as error:
        return str(error)
    await trio.aclose_forcefully(stream)
    return None


async def wait_answering(dialer: Dialer, path: str) -> None:
    """Return once a GET of ``path`` has a status under 500; ask again and again until then.

    Cancellation: safe; this is how a caller bounds the wait.
    """
    while True:
        with trio.move_on_after(ANSWER_TIMEOUT_S):
            status = await _status_of(dialer, path)
            if status is not None and status < 500:
                return
        await trio.sleep(POLL_INTERVAL_S)


async def _status_of(dialer: Dialer, path: str) -> int | None:
    """Return the status of one GET; None where no answer came."""
    try:
        stream = await dialer.dial()
    except OriginError:
        return None
    connection = OriginConnection(stream, Http1Limits())
    try:
        connection.write_request(
            b"GET",
            path.encode("ascii"),
            _fields_for(dialer.target),
            content_length=None,
            has_content=False,
        )
        connection.write_end()
        await connection.flush()
        head = await connection.receive_head()
        while head.interim:
            head = await connection.receive_head()
        return head.status
    except OriginError:
        return None
    finally:
        await connection.aclose()  # forceful: it never waits


def _fields_for(target: Target) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"Host", target.authority),
        (b"User-Agent", b"wormkey"),
        (b"Accept", b"*/*"),
        (b"Connection", b"close"),
    )

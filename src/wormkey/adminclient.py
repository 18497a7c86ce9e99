"""Asks the running daemon of a state folder: the operator's commands at the admin socket.

One call a connection, as api.py does with the control plane. Nobody there is an answer, not an
error: what a command then does is its own affair.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final

import trio

from wormkey.api import AnswerTooLongError, converse
from wormkey.errors import OriginError
from wormkey.listeners import short_path
from wormkey.statefolder import ADMIN_SOCKET

if TYPE_CHECKING:
    from pathlib import Path

    from wormkey.api import ApiAnswer

ANSWER_TIMEOUT_S: Final = 30.0  # `token revoke --close` ends many sessions, each on the disk


async def ask_daemon(
    state_dir: Path, method: str, path: str, body: object = None
) -> ApiAnswer | None:
    """Return the answer of the daemon that runs with this state folder; None if none does.

    Raises:
        OSError: it may not be asked, or does not answer as it should; ``strerror`` is one line.

    Cancellation: drops the connection; whether the daemon acted is then unknown.
    """
    socket_path = state_dir / ADMIN_SOCKET
    try:
        with trio.fail_after(ANSWER_TIMEOUT_S), short_path(socket_path) as name:
            stream = await trio.open_unix_socket(name)
            return await converse(stream, "wormkeyd", method, path, body=body)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    except PermissionError:
        reason = f"{socket_path}: the daemon answers its own user and root only"
        raise OSError(errno.EACCES, reason) from None
    except trio.TooSlowError:
        reason = f"the daemon at {socket_path} did not answer within {ANSWER_TIMEOUT_S:.0f} s"
        raise OSError(errno.ETIMEDOUT, reason) from None
    except (AnswerTooLongError, OriginError, trio.BrokenResourceError) as error:
        reason = f"the daemon at {socket_path} broke off its answer; its log has the reason"
        raise OSError(errno.EPROTO, reason) from error

"""The client's exit codes, and which of them an answer of the control plane means.

The numbers are a promise to scripts (docs/usage.md); a new failure takes one of them. Nothing is
printed here: a Failure carries its sentence up to cli.py.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from wormkey.errors import WormkeyError
from wormkey.terminal import printable

if TYPE_CHECKING:
    from wormkey.api import ApiAnswer


class ExitCode(enum.IntEnum):
    """What the client's exit status says."""

    DONE = 0
    UNEXPECTED = 1
    USAGE = 2
    ORIGIN_UNREACHABLE = 11
    CONTROL_PLANE_UNREACHABLE = 12
    NOT_AUTHORISED = 13
    SESSION_ENDED = 14
    REFUSED = 15
    RATE_LIMITED = 16


class Failure(WormkeyError):
    """The verb could not be done; the message is one or two sentences for the user."""

    def __init__(self, exit_code: ExitCode, message: str) -> None:
        """``message`` says what was wrong and what to do; it may quote made-printable text."""
        super().__init__(message)
        self.exit_code = exit_code


def failure_of(answer: ApiAnswer, control_plane: str, *, of_session: bool = True) -> Failure:
    """Return the failure that an answer other than the hoped-for one means.

    ``of_session`` tells whether a session was asked about. If not, nothing can be over: who then
    has never heard of the path is another server, such as the gateway.
    """
    said = printable(answer.error[:500])
    match answer.status:
        case 400 | 409 | 422:
            return Failure(ExitCode.REFUSED, f"refused: {said or 'the control plane says no'}")
        case 401 | 403:
            hint = f"`wormkey login {control_plane}` stores a token, --token-file names one"
            return Failure(
                ExitCode.NOT_AUTHORISED, f"not authorised at {control_plane}{_after(said)}; {hint}"
            )
        case 404 | 410 if of_session:
            return Failure(ExitCode.SESSION_ENDED, f"the session is over{_after(said)}")
        case 429:
            wait_s = answer.retry_after_s
            when = "later" if wait_s is None else f"in {wait_s:.0f} s"
            return Failure(ExitCode.RATE_LIMITED, f"too many requests; try again {when}")
        case 500:
            return Failure(
                ExitCode.UNEXPECTED, f"the control plane at {control_plane} failed{_after(said)}"
            )
        case 502 | 503 | 504:
            return Failure(
                ExitCode.CONTROL_PLANE_UNREACHABLE,
                f"the control plane at {control_plane} is not ready{_after(said)}; try again",
            )
        case status:
            return Failure(
                ExitCode.CONTROL_PLANE_UNREACHABLE,
                f"what answers at {control_plane} is no Wormkey control plane (status {status})"
                f"{_after(said)}; set --control-plane or WORMKEY_CONTROL_PLANE_URL",
            )


def no_control_plane(message: str) -> Failure:
    """Return the failure for a control plane that gave no answer at all."""
    return Failure(
        ExitCode.CONTROL_PLANE_UNREACHABLE,
        f"{message}; start one with `wormkeyd`, or set --control-plane or "
        "WORMKEY_CONTROL_PLANE_URL",
    )


def _after(said: str) -> str:
    return f": {said}" if said else ""

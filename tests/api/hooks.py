"""What schemathesis cannot know of this API: which token fits which session, and a live session.

Loaded by schemathesis itself (SCHEMATHESIS_HOOKS), in its own process. Most of the calls about a
session get one that lives, made for that call, and the token that the call asks for; so answers
of success are reached, and calls that end a session take none from the others. Without
API_ACCESS_TOKEN nothing is authenticated.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import re
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import schemathesis

if TYPE_CHECKING:
    from schemathesis.core.transport import Response
    from schemathesis.generation.case import Case
    from schemathesis.hooks import HookContext

URL = os.environ["API_URL"]
ACCESS_TOKEN = os.environ.get("API_ACCESS_TOKEN", "")
SEEN = Path(os.environ["API_SEEN"])  # what each call answered, for the test that runs all this
WELL_FORMED = {"session_id": r"[0-9a-f]{32}", "slug": r"[a-z][a-z0-9-]{1,38}[a-z0-9]"}

tokens: dict[str, dict[str, str]] = {}  # by session id and by slug: the token of each scheme
turns: defaultdict[str, itertools.count[int]] = defaultdict(itertools.count)  # of each call
seen: defaultdict[str, set[int]] = defaultdict(set)


def learn(made: dict[str, Any]) -> None:
    """Keep the tokens of a new session."""
    owner = made["ownerUrl"].rpartition("=")[2]
    for key in (made["sessionId"], made["slug"]):
        tokens[key] = {"sessionToken": made["sessionToken"], "ownerToken": owner}


def make_session() -> dict[str, Any]:
    """Create a session."""
    request = urllib.request.Request(  # noqa: S310 - the daemon under test
        f"{URL}/sessions",
        data=json.dumps({"port": 5173}).encode(),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {ACCESS_TOKEN}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - as above
        made: dict[str, Any] = json.load(answer)
    learn(made)
    return made


def put_live_session(case: Case, turn: int) -> str:
    """Name a live session in two of three cases whose path is well-formed; return the name."""
    parameters = case.path_parameters or {}
    for name, form in WELL_FORMED.items():
        given = str(parameters.get(name, ""))
        if not re.fullmatch(form, given):
            continue
        if given not in tokens and turn % 3:
            given = make_session()["sessionId" if name == "session_id" else "slug"]
            parameters[name] = given
        return given
    return ""


def schemes_of(case: Case) -> list[str]:
    """The security schemes that a call names."""
    security = case.operation.definition.raw.get("security", [])
    return [scheme for each in security for scheme in each]


@schemathesis.auth(refresh_interval=None)  # type: ignore[untyped-decorator]
class Tokens:
    """The right token for each call."""

    def get(self, case: Case, _context: object) -> str | None:
        """Return the token that a call wants, of a live session where it is about one."""
        if not ACCESS_TOKEN:
            return None
        turn = next(turns[case.operation.label])
        named = put_live_session(case, turn)
        schemes = schemes_of(case)
        if "accessToken" in schemes:
            return ACCESS_TOKEN
        fitting = [tokens[named][scheme] for scheme in schemes] if named in tokens else schemes
        return fitting[turn % len(fitting)] if fitting else None

    def set(self, case: Case, token: str | None, _context: object) -> None:
        """Send it as a Bearer token."""
        if token:
            case.headers["Authorization"] = f"Bearer {token}"


@schemathesis.hook
def after_call(_context: HookContext, case: Case, response: Response) -> None:
    """Note the answer; learn the tokens of the sessions that the tests create by themselves."""
    seen[case.operation.label].add(response.status_code)
    if case.operation.label == "POST /sessions" and response.status_code == 201:
        learn(response.json())


@atexit.register
def write_down() -> None:
    """Leave what was seen to the test."""
    SEEN.write_text(json.dumps({label: sorted(statuses) for label, statuses in seen.items()}))

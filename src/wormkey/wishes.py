"""What callers of the control plane may ask for: a new session, another policy, a viewer's removal.

Owns the reading of JSON: every member checked, every refusal one sentence that names the member.
Unknown members are ignored, as the API promises. Pure; what becomes of a wish is registry.py's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, cast

from attrs import field, frozen

from wormkey.rules import CONTROL, OPEN_TO_ALL, RULE_NAMES, Policy, parse_policy
from wormkey.session import (
    DEFAULT_EXPIRES_IN_S,
    DEFAULT_USERNAME,
    MAX_PASSWORD_LENGTH,
    MAX_USERNAME_LENGTH,
    AuthMode,
    bad_wish,
    check_name,
    parse_expires_in,
)

MAX_VIEWER_ID_LENGTH: Final = 64
_VIEWER_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_VIEWER_ID_LENGTH}}}\Z", re.ASCII)


@frozen(kw_only=True)
class NewSession:
    """A checked wish for a session.

    ``password`` belongs to HTTP Basic, None asks for a generated one; ``gate_password`` is the
    policy's, which a form asks for.
    """

    port: int
    expires_in_s: int
    auth_mode: AuthMode = "none"
    name: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    gate_password: str | None = field(default=None, repr=False)
    policy: Policy = OPEN_TO_ALL

    @classmethod
    def from_json(cls, document: object, *, max_age_s: float) -> NewSession:
        """Read the content of ``POST /sessions``; unknown members are ignored, null is absent.

        Raises:
            AdmissionError: 400 with one sentence that names the member; 409 for a reserved name.
        """
        if not isinstance(document, dict):
            raise bad_wish("invalid_request", "the content must be a JSON object")
        wish = cast("Mapping[str, object]", document)
        port = wish.get("port")
        if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
            raise bad_wish("invalid_port", "port must be an integer from 1 to 65535, or 0 for none")
        asked = wish.get("policy")
        policy = parse_policy(asked)
        password = _string(wish, "password")
        auth_mode, username = _credentials(wish, password)
        name = _string(wish, "name")
        expires_in = _string(wish, "expiresIn")
        return cls(
            port=port,
            expires_in_s=(
                int(min(DEFAULT_EXPIRES_IN_S, max_age_s))
                if expires_in is None
                else parse_expires_in(expires_in, max_age_s=max_age_s)
            ),
            auth_mode=auth_mode,
            name=None if name is None else check_name(name),
            username=username,
            password=password,
            gate_password=_password_of(asked),
            policy=policy,
        )


@frozen(kw_only=True)
class PolicyChange:
    """A checked wish for another policy; what it does not name stays as it is.

    ``password`` None leaves the password as it is, ``unprotect`` takes it away.
    """

    members: Mapping[str, object]
    password: str | None = field(default=None, repr=False)
    unprotect: bool = False

    @classmethod
    def from_json(cls, document: object) -> PolicyChange:
        """Read the content of ``POST …/policy``; a password of null or "" takes it away.

        Raises:
            AdmissionError: 400 with one sentence that names the member.
        """
        if not isinstance(document, dict):
            raise bad_wish("invalid_request", "the content must be a JSON object")
        members = cast("Mapping[str, object]", document)
        parse_policy(members)
        password = _password_of(members)
        unprotect = "password" in members and password is None
        kept = {name: value for name, value in members.items() if name != "password"}
        return cls(members=kept, password=password, unprotect=unprotect)

    @property
    def names(self) -> tuple[str, ...]:
        """The rules that are named, for the audit trail; a password without its value."""
        known = tuple(name for name in RULE_NAMES if name in self.members)
        return known if self.password is None and not self.unprotect else (*known, "password")

    def applied_to(self, policy: Policy) -> Policy:
        """Return ``policy`` with what is wished for."""
        return parse_policy(self.members, policy)


def parse_kick(document: object) -> str:
    """Return the id of the viewer that the content of ``POST …/kick`` names.

    Raises:
        AdmissionError: 400 ``invalid_viewer_id``.
    """
    if not isinstance(document, dict):
        raise bad_wish("invalid_request", "the content must be a JSON object")
    viewer_id = document.get("viewerId")
    if not isinstance(viewer_id, str) or _VIEWER_ID.match(viewer_id) is None:
        raise bad_wish(
            "invalid_viewer_id", "viewerId must be the id of a viewer, as /state shows it"
        )
    return viewer_id


def _credentials(wish: Mapping[str, object], password: str | None) -> tuple[AuthMode, str | None]:
    """Return the auth mode and the username; refuse a password that would protect nothing."""
    mode = _string(wish, "authMode")
    mode = "none" if mode is None else mode
    username = _string(wish, "username")
    if mode == "none":
        if username is not None or password is not None:
            raise bad_wish("invalid_auth_mode", 'username and password need "authMode": "basic"')
        return "none", None
    if mode != "basic":
        raise bad_wish("invalid_auth_mode", 'authMode must be "none" or "basic"')
    username = DEFAULT_USERNAME if username is None else username
    # RFC 7617 §2: no colon in a user-id, no control characters in either.
    if not 1 <= len(username) <= MAX_USERNAME_LENGTH or ":" in username or CONTROL.search(username):
        raise bad_wish("invalid_username", "username must be 1 to 128 characters without a colon")
    if password is not None:
        _check_password(password)
    return "basic", username


def _password_of(policy: object) -> str | None:
    """Return the password of a JSON policy; null and "" are none."""
    if not isinstance(policy, dict):
        return None
    password = _string(cast("Mapping[str, object]", policy), "password") or None
    if password is not None:
        _check_password(password)
    return password


def _check_password(password: str) -> None:
    if not 1 <= len(password) <= MAX_PASSWORD_LENGTH or CONTROL.search(password):
        raise bad_wish(
            "invalid_password", "password must be 1 to 1024 characters, none of them a control"
        )


def _string(wish: Mapping[str, object], member: str) -> str | None:
    value = wish.get(member)
    if value is None or isinstance(value, str):
        return value
    raise bad_wish("invalid_request", f"{member} must be a string")

"""What callers of the control plane may ask for: a new session, another policy, a viewer's removal.

Owns the reading of JSON: every member checked, every refusal one sentence that names the member.
Unknown members are ignored, as the API promises. Pure; what becomes of a wish is registry.py's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, cast

from attrs import field, frozen

from wormkey.session import (
    DEFAULT_EXPIRES_IN_S,
    DEFAULT_USERNAME,
    MAX_PASSWORD_LENGTH,
    MAX_USERNAME_LENGTH,
    OPEN_TO_ALL,
    AuthMode,
    Policy,
    bad_wish,
    check_name,
    parse_expires_in,
)

MAX_BLOCK_PATHS: Final = 64
MAX_BLOCK_PATH_LENGTH: Final = 256
MAX_VIEWERS: Final = 10_000
MAX_VIEWER_ID_LENGTH: Final = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_VIEWER_ID = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_VIEWER_ID_LENGTH}}}\Z", re.ASCII)


@frozen(kw_only=True)
class NewSession:
    """A checked wish for a session; ``password`` None with basic asks for a generated one."""

    port: int
    expires_in_s: int
    auth_mode: AuthMode = "none"
    name: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
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
        if isinstance(asked, dict) and asked.get("password") is not None and password is None:
            password = _string(cast("Mapping[str, object]", asked), "password")
            wish = {"authMode": "basic", **wish}
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
        password = _string(members, "password") or None
        if password is not None:
            _check_password(password)
        unprotect = "password" in members and password is None
        kept = {name: value for name, value in members.items() if name != "password"}
        return cls(members=kept, password=password, unprotect=unprotect)

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


def parse_policy(document: object, base: Policy = OPEN_TO_ALL) -> Policy:
    """Return ``base`` with the members of a JSON policy; absent members stay as they are.

    ``password`` belongs to the session, not to this value, and is not read here.

    Raises:
        AdmissionError: 400 ``invalid_policy`` with one sentence that names the member.
    """
    if document is None:
        return base
    if not isinstance(document, dict):
        raise bad_wish("invalid_policy", "policy must be an object")
    wish = cast("Mapping[str, object]", document)
    public = wish.get("public", base.public)
    if not isinstance(public, bool):
        raise bad_wish("invalid_policy", "policy.public must be true or false")
    viewers = wish.get("maxConcurrentViewers", base.max_concurrent_viewers)
    if viewers is not None and (
        isinstance(viewers, bool) or not isinstance(viewers, int) or not 0 <= viewers <= MAX_VIEWERS
    ):
        raise bad_wish(
            "invalid_policy",
            f"policy.maxConcurrentViewers must be a number up to {MAX_VIEWERS}, or 0 for no limit",
        )
    viewers = viewers or None
    paths = wish.get("blockPaths", base.block_paths)
    return Policy(public=public, max_concurrent_viewers=viewers, block_paths=_block_paths(paths))


def _block_paths(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    fits = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    paths = tuple(cast("Sequence[object]", value)) if fits else ()
    texts = tuple(path for path in paths if isinstance(path, str) and _is_block_path(path))
    if not fits or len(texts) != len(paths) or len(texts) > MAX_BLOCK_PATHS:
        raise bad_wish(
            "invalid_policy",
            f"policy.blockPaths must be a list of at most {MAX_BLOCK_PATHS} paths that begin "
            "with / and hold no query",
        )
    return texts


def _is_block_path(path: str) -> bool:
    return (
        path.startswith("/")
        and len(path) <= MAX_BLOCK_PATH_LENGTH
        and not any(mark in path for mark in "?#\\%")
        and _CONTROL.search(path) is None
    )


def _credentials(wish: Mapping[str, object], password: str | None) -> tuple[AuthMode, str | None]:
    """Return the auth mode and the username; refuse a password that would protect nothing."""
    mode = _string(wish, "authMode") or "none"
    username = _string(wish, "username")
    if mode == "none":
        if username is not None or password is not None:
            raise bad_wish("invalid_auth_mode", 'username and password need "authMode": "basic"')
        return "none", None
    if mode != "basic":
        raise bad_wish("invalid_auth_mode", 'authMode must be "none" or "basic"')
    username = DEFAULT_USERNAME if username is None else username
    # RFC 7617 §2: no colon in a user-id, no control characters in either.
    if (
        not 1 <= len(username) <= MAX_USERNAME_LENGTH
        or ":" in username
        or _CONTROL.search(username)
    ):
        raise bad_wish("invalid_username", "username must be 1 to 128 characters without a colon")
    if password is not None:
        _check_password(password)
    return "basic", username


def _check_password(password: str) -> None:
    if not 1 <= len(password) <= MAX_PASSWORD_LENGTH or _CONTROL.search(password):
        raise bad_wish(
            "invalid_password", "password must be 1 to 1024 characters, none of them a control"
        )


def _string(wish: Mapping[str, object], member: str) -> str | None:
    value = wish.get(member)
    if value is None or isinstance(value, str):
        return value
    raise bad_wish("invalid_request", f"{member} must be a string")

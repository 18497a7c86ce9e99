"""The API's description of itself: one table of calls, one of error codes, and OpenAPI 3.1 of both.

Owns what ``GET /openapi.json`` answers; docs/api.md shows the same tables to people. Pure: the
calls themselves are calls.py's, and a test holds the two together. The contents' schemas are in
shapes.py.
"""

from __future__ import annotations

import json
from functools import cache
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from attrs import frozen

from wormkey.shapes import SESSION_ID, SLUG, Schema, schemas

if TYPE_CHECKING:
    from collections.abc import Mapping

Who: TypeAlias = Literal["anyone", "access token", "session or owner token", "owner token"]


@frozen
class Problem:
    """What an error code means: its status, and what happened."""

    status: int
    meaning: str


ERRORS: Final[Mapping[str, Problem]] = MappingProxyType(
    {
        "invalid_json": Problem(400, "the content is not JSON of the kind that RFC 7493 asks for"),
        "invalid_request": Problem(400, "the content, or a member of it, has the wrong type"),
        "invalid_port": Problem(400, "port is not an integer from 0 to 65535"),
        "invalid_expires_in": Problem(400, "expiresIn is no duration, or longer than is given"),
        "invalid_name": Problem(400, "name is not a DNS label of 3 to 40 characters"),
        "invalid_auth_mode": Problem(400, "authMode is unknown, or credentials came without it"),
        "invalid_username": Problem(400, "username is empty, too long, or holds a colon"),
        "invalid_password": Problem(400, "password is empty, too long, or holds a control"),
        "invalid_policy": Problem(400, "a member of the policy has the wrong type or range"),
        "invalid_viewer_id": Problem(400, "viewerId is not the id of a viewer"),
        "cors_refused": Problem(400, "a preflight request of a web origin that is not configured"),
        "websocket_refused": Problem(400, "the request wants to become a WebSocket"),
        "access_token_required": Problem(401, "no access token came, or one that is not valid"),
        "unauthorized": Problem(401, "no token of this session came, or one that is not valid"),
        "origin_not_allowed": Problem(403, "a web page of an origin that is not configured"),
        "not_found": Problem(404, "there is nothing at this path"),
        "unknown_session": Problem(404, "there is no such session"),
        "method_not_allowed": Problem(405, "this path takes other methods, those of Allow"),
        "request_timeout": Problem(408, "the content did not arrive in time"),
        "name_taken": Problem(409, "another session has this name"),
        "name_reserved": Problem(409, "nobody gets this name"),
        "session_closed": Problem(410, "the session was closed"),
        "session_expired": Problem(410, "the session's time is over"),
        "content_too_large": Problem(413, "the content is larger than 64 KiB"),
        "unsupported_media_type": Problem(415, "the content is not sent as application/json"),
        "too_many_requests": Problem(429, "too many at once, or too soon again: see Retry-After"),
        "internal_error": Problem(500, "the server failed; its log has the reason"),
        "starting": Problem(503, "the server does not accept viewers yet"),
        "draining": Problem(503, "the server shuts down"),
        "store_failed": Problem(503, "the server cannot keep sessions; its log has the reason"),
        "bad_request": Problem(400, "the request is not HTTP/1.1, or could be read in two ways"),
        "target_too_long": Problem(414, "the request target is over 16 KiB"),
        "expectation_failed": Problem(417, "another expectation than 100-continue"),
        "head_too_large": Problem(431, "the header section is over 32 KiB, or has over 192 fields"),
        "not_implemented": Problem(501, "an unknown transfer coding, or a method over 64 bytes"),
        "overloaded": Problem(503, "all connections are taken"),
        "version_not_supported": Problem(505, "another version of HTTP than 1.1 and 1.0"),
    }
)
# What any call may answer: the request itself is at fault, or the server is.
ALWAYS: Final = (
    *("bad_request", "websocket_refused", "request_timeout", "content_too_large"),
    "target_too_long",
    *("expectation_failed", "head_too_large", "internal_error", "not_implemented", "overloaded"),
    "version_not_supported",
)
# What answers a request that is none of the calls.
ELSEWHERE: Final = ("cors_refused", "not_found", "method_not_allowed")

_ACCESS: Final = (
    "access_token_required",
    "origin_not_allowed",
    "too_many_requests",
    "store_failed",
)
# An id or a slug that is none may be no path of ours at all, such as one with a slash in it.
_NAMED: Final = ("unknown_session", "not_found", "too_many_requests")
_BY_TOKEN: Final = ("unauthorized", *_NAMED)
_CHANGES: Final = (*_BY_TOKEN, "session_closed", "session_expired", "store_failed")
_JSON: Final = ("invalid_json", "invalid_request", "unsupported_media_type")


@frozen(kw_only=True)
class Call:
    """One call: a method at a path. ``answer`` and ``content`` name schemas of shapes.py."""

    method: str
    path: str
    name: str  # the operationId
    summary: str
    answer: str = ""  # empty: text
    content: str = ""  # empty: none is read
    who: Who = "anyone"
    status: int = 200
    errors: tuple[str, ...] = ()


CALLS: Final = (
    Call(
        method="GET", path="/", name="isAlive", summary="Is a control plane here?", answer="Alive"
    ),
    Call(method="GET", path="/health", name="health", summary="Does the process answer?"),
    Call(
        method="GET",
        path="/ready",
        name="ready",
        summary="Does it take sessions? Not while it starts or drains",
        errors=("starting", "draining"),
    ),
    Call(
        method="GET",
        path="/metrics",
        name="metrics",
        summary="The figures for Prometheus",
        who="access token",
        errors=_ACCESS,
    ),
    Call(
        method="GET", path="/openapi.json", name="describe", summary="This description", answer="-"
    ),
    Call(
        method="GET",
        path="/access",
        name="checkAccess",
        summary="May this token create sessions?",
        who="access token",
        answer="Access",
        errors=_ACCESS,
    ),
    Call(
        method="POST",
        path="/sessions",
        name="createSession",
        summary="Make a session and tell its secrets, this once",
        who="access token",
        content="NewSession",
        answer="Created",
        status=201,
        errors=(
            *_JSON,
            *("invalid_port", "invalid_expires_in", "invalid_name", "invalid_auth_mode"),
            *("invalid_username", "invalid_password", "invalid_policy"),
            *_ACCESS,
            *("name_taken", "name_reserved", "draining"),
        ),
    ),
    Call(
        method="GET",
        path="/sessions/{session_id}",
        name="readSession",
        summary="Read a session",
        who="session or owner token",
        answer="Session",
        errors=_BY_TOKEN,
    ),
    Call(
        method="DELETE",
        path="/sessions/{session_id}",
        name="deleteSession",
        summary="End a session; its tunnel closes",
        who="session or owner token",
        answer="Done",
        errors=(*_BY_TOKEN, "store_failed"),
    ),
    Call(
        method="GET",
        path="/sessions/by-slug/{slug}",
        name="readPublicSession",
        summary="Read what anyone may know of a session",
        answer="PublicSession",
        errors=_NAMED,
    ),
    Call(
        method="POST",
        path="/sessions/by-slug/{slug}/policy",
        name="changePolicy",
        summary="Change who may see a session; absent members stay as they are",
        who="owner token",
        content="Policy",
        answer="PolicyChanged",
        errors=(*_JSON, "invalid_policy", "invalid_password", *_CHANGES),
    ),
    Call(
        method="POST",
        path="/sessions/by-slug/{slug}/kick",
        name="kickViewer",
        summary="Remove a viewer for good",
        who="owner token",
        content="Kick",
        answer="Kicked",
        errors=(*_JSON, "invalid_viewer_id", *_CHANGES),
    ),
    Call(
        method="POST",
        path="/sessions/by-slug/{slug}/close",
        name="closeSession",
        summary="End a session; its tunnel closes",
        who="owner token",
        answer="Done",
        errors=(*_BY_TOKEN, "store_failed"),
    ),
    Call(
        method="POST",
        path="/sessions/by-slug/{slug}/owner-link",
        name="makeOwnerLink",
        summary="Make a link that one more browser may claim; an earlier unused one ends",
        who="owner token",
        answer="OwnerLink",
        errors=_CHANGES,
    ),
)

_PARAMETERS: Final[Mapping[str, Schema]] = {"session_id": SESSION_ID, "slug": SLUG}
_SCHEMES: Final[Mapping[Who, tuple[str, ...]]] = {
    "anyone": (),
    "access token": ("accessToken",),
    "session or owner token": ("sessionToken", "ownerToken"),
    "owner token": ("ownerToken",),
}
_FIELDS: Final[Mapping[int, tuple[str, str]]] = {
    201: ("Location", "the path of the session"),
    401: ("WWW-Authenticate", "Bearer"),
    429: ("Retry-After", "the seconds to wait"),
    503: ("Retry-After", "the seconds to wait"),
}
_LINKS: Final[Mapping[str, str]] = {
    "session_id": "$response.body#/sessionId",
    "slug": "$response.body#/slug",
}


# ── the document ────────────────────────────────────────────────────────────────────────────


@cache
def render(*, version: str, access: str, max_age_s: float) -> bytes:
    """Return the description as it is served; the arguments are the daemon's own settings."""
    return json.dumps(document(version=version, access=access, max_age_s=max_age_s)).encode()


def document(*, version: str, access: str, max_age_s: float) -> Schema:
    """Return the OpenAPI document of a daemon in ``access`` mode, token or open."""
    paths: dict[str, Schema] = {}
    for call in CALLS:
        path = paths.setdefault(call.path, _parameters(call.path))
        path[call.method.lower()] = _operation(call, access)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Wormkey control plane",
            "version": version,
            "description": (
                "Sessions of a self-hosted localhost tunnel. Tokens travel as Authorization: "
                "Bearer. Unknown members of a request are ignored; answers may get more members."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas(max_age_s),
            "securitySchemes": {
                "accessToken": _bearer("made by wormkeyd token add; creates sessions"),
                "sessionToken": _bearer("the sessionToken of the session's creation"),
                "ownerToken": _bearer("the token of the session's ownerUrl"),
            },
        },
    }


def _bearer(description: str) -> Schema:
    return {"type": "http", "scheme": "bearer", "description": description}


def _parameters(path: str) -> Schema:
    found = [
        {"name": name, "in": "path", "required": True, "schema": schema}
        for name, schema in _PARAMETERS.items()
        if f"{{{name}}}" in path
    ]
    return {"parameters": found} if found else {}


def _operation(call: Call, access: str) -> Schema:
    answer: Schema = {"description": call.summary, "content": _content_of(call)}
    if call.status in _FIELDS:
        answer["headers"] = _header(call.status)
    if call.name == "createSession":
        answer["links"] = {
            each.name: {
                "operationId": each.name,
                "parameters": {name: _LINKS[name] for name in _LINKS if f"{{{name}}}" in each.path},
            }
            for each in CALLS
            if "{" in each.path
        }
    operation: Schema = {
        "operationId": call.name,
        "summary": call.summary,
        "responses": {str(call.status): answer, **_errors(call)},
    }
    schemes: list[Schema] = [{name: []} for name in _SCHEMES[call.who]]
    if call.who == "access token" and access == "open":
        schemes.append({})
    if schemes:
        operation["security"] = schemes
    if call.content:
        content = {"application/json": {"schema": _reference(call.content)}}
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _content_of(call: Call) -> Schema:
    if not call.answer:
        return {"text/plain": {"schema": {"type": "string"}}}
    schema = {"type": "object"} if call.answer == "-" else _reference(call.answer)
    return {"application/json": {"schema": schema}}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _header(status: int) -> Schema:
    name, description = _FIELDS[status]
    field: Schema = {"description": description, "required": True, "schema": {"type": "string"}}
    return {name: field}


def _errors(call: Call) -> Schema:
    """Return the error responses of a call: for each status the codes that it may bear."""
    statuses: dict[int, list[str]] = {}
    for code in (*call.errors, *ALWAYS):
        statuses.setdefault(ERRORS[code].status, []).append(code)
    responses: Schema = {}
    for status, codes in sorted(statuses.items()):
        meanings = "; ".join(f"{code}: {ERRORS[code].meaning}" for code in codes)
        schema = {"allOf": [_reference("Error")], "properties": {"code": {"enum": codes}}}
        example = {"error": f"{HTTPStatus(status).phrase}.", "code": codes[0]}
        response: Schema = {
            "description": meanings,
            "content": {
                "application/json": {"schema": schema, "examples": {"one": {"value": example}}}
            },
        }
        if status in _FIELDS:
            response["headers"] = _header(status)
        responses[str(status)] = response
    return responses

"""Holds every answer of the control plane to what the API's description says of its call.

Stricter than the description in one way: a member that it does not name fails, although readers
must live with more of them. That is how a secret that slips into an answer is noticed.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import TYPE_CHECKING, Any

import jsonschema_rs

from wormkey import openapi

if TYPE_CHECKING:
    from tests.support.messages import Response

DESCRIPTION: dict[str, Any] = openapi.document(version="0", access="token", max_age_s=30 * 86400)


def closed(schema: Any) -> Any:
    """Return a schema in which no object may have members that are not named."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    if "allOf" not in schema and isinstance(schema.get("properties"), dict):
        inner.setdefault("additionalProperties", False)
    return inner


@cache
def validator_of(pointer: str) -> Any:
    """The validator for the schema at a pointer into the description, closed."""
    components = closed(DESCRIPTION["components"])
    found: Any = closed(DESCRIPTION)
    for step in pointer.split(" "):
        found = found[step]
    schema = {**found, "components": components}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def path_of(target: str) -> str | None:
    """The described path that a request target leads to."""
    path = re.sub(r"^https?://[^/?]*", "", target, flags=re.IGNORECASE).partition("?")[0] or "/"
    for template in sorted(DESCRIPTION["paths"], key=lambda each: each.count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            return str(template)
    return None


def check(method: str, target: str, answer: Response) -> None:
    """Fail unless an answer is one that the description allows for this request."""
    if method == "OPTIONS" and answer.head.has(b"Access-Control-Allow-Methods"):
        return  # a preflight that succeeded is the browser's affair
    path = path_of(target)
    verb = "get" if method == "HEAD" else method.lower()
    status = str(answer.status)
    operation = DESCRIPTION["paths"].get(path, {}).get(verb, {})
    described = operation.get("responses", {}).get(status)
    if described is None:
        _check_elsewhere(answer, called=bool(operation))
        return
    for name in described.get("headers", {}):
        assert answer.head.has(name.encode()), f"{method} {target} {status}: no {name}"
    media_type = (answer.head.get(b"Content-Type") or b"").decode().partition(";")[0]
    assert media_type in described["content"], f"{method} {target} {status}: {media_type}"
    if media_type == "application/json" and method != "HEAD":
        at = f"paths {path} {verb} responses {status} content application/json schema"
        validator_of(at).validate(json.loads(answer.data))


def _check_elsewhere(answer: Response, *, called: bool) -> None:
    """Check an answer to what is none of the calls, or to a request that is wrong as such."""
    codes = {*openapi.ALWAYS, *openapi.ELSEWHERE}
    if called:  # a WebSocket's handshake looks like a call, and is none
        codes -= {"not_found", "method_not_allowed"}
    assert answer.data, f"{answer.status} is not described for this call"
    error = json.loads(answer.data)
    validator_of("components schemas Error").validate(error)
    assert error["code"] in codes, f"{error['code']} is not described for this call"
    assert openapi.ERRORS[error["code"]].status == answer.status

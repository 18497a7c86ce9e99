"""The API's description: whole, true to the code's errors, and readable by others' tools."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema_rs
import pytest

from wormkey import grammar, openapi
from wormkey.apicodes import ALL_CODES
from wormkey.openapi import ALWAYS, CALLS, ELSEWHERE, ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(openapi.__file__).parent
DOCUMENT: dict[str, Any] = openapi.document(version="1.2.3", access="token", max_age_s=86400)
# Where the API's errors are made, by functions whose first arguments are status and code.
MAKERS = (
    "front",
    "http1",
    "guard",
    "door",
    "calls",
    "registry",
    "session",
    "wishes",
    "rules",
    "throttle",
    "passwords",
)
WITH_STATUS = {"AdmissionError", "error_response"}
WITH_400 = {"bad_wish", "_bad"}


def errors_of(module: Path) -> Iterator[tuple[int, str]]:
    """The statuses and codes of the errors that a module makes."""
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        values = [each.value for each in node.args if isinstance(each, ast.Constant)]
        if node.func.id in WITH_STATUS and len(values) > 1:
            yield values[0], values[1]
        elif node.func.id in WITH_400 and values:
            yield 400, values[0]


def test_the_errors_are_those_of_the_code() -> None:
    """Every code that the API's modules answer is described with its status, and no other."""
    made = {error for name in MAKERS for error in errors_of(SOURCES / f"{name}.py")}
    made |= {(status, code) for status, code in grammar._CODES.items()}  # of a request's head
    assert made == {(problem.status, code) for code, problem in ERRORS.items()}


def test_every_error_is_explained() -> None:
    """`wormkey explain CODE` and docs/errors.md know each code, with the same status."""
    assert {code: ALL_CODES[code].status for code in ERRORS} == {
        code: problem.status for code, problem in ERRORS.items()
    }


def test_every_error_belongs_somewhere() -> None:
    """Each code is one of a call's, of every call's, or of requests that are no call."""
    used = {code for call in CALLS for code in call.errors}
    assert used | {*ALWAYS, *ELSEWHERE} == set(ERRORS)


def test_calls_are_told_apart() -> None:
    """Method and path, and the name that generated clients give their function, are unique."""
    assert len({(call.method, call.path) for call in CALLS}) == len(CALLS)
    assert len({call.name for call in CALLS}) == len(CALLS)


def test_what_is_served_is_the_document() -> None:
    """The bytes are the document's JSON, with the daemon's version."""
    served = json.loads(openapi.render(version="1.2.3", access="token", max_age_s=86400))
    assert served == DOCUMENT
    assert served["info"]["version"] == "1.2.3"


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every operation of a document."""
    for path in document["paths"].values():
        yield from (value for key, value in path.items() if key != "parameters")


@pytest.mark.parametrize(("access", "free"), [("open", True), ("token", False)])
def test_only_open_mode_creates_without_a_token(access: str, free: bool) -> None:
    """Whether a call needs the access token is said as this daemon has it."""
    document: dict[str, Any] = openapi.document(version="0", access=access, max_age_s=1)
    wanted = [
        each["security"]
        for each in operations(document)
        if {"accessToken": []} in each.get("security", [])
    ]
    assert len(wanted) == 3
    assert all(({} in security) is free for security in wanted)


def test_fields_that_tell_what_to_do_are_promised() -> None:
    """401 says how to authenticate, 429 and 503 when to come again, 201 where it is."""
    fields = {"201": "Location", "401": "WWW-Authenticate", "429": "Retry-After"}
    seen = set()
    for operation in operations(DOCUMENT):
        for status, response in operation["responses"].items():
            if status in fields:
                seen.add(status)
                assert response["headers"][fields[status]]["required"] is True
    assert seen == set(fields)


def test_every_reference_leads_somewhere() -> None:
    """No $ref dangles, no operation of a link is unknown, every schema is used."""
    text = json.dumps(DOCUMENT)
    names = {operation["operationId"] for operation in operations(DOCUMENT)}
    for name in DOCUMENT["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text, name
    assert text.count('"$ref"') == sum(
        text.count(f'"#/components/schemas/{name}"') for name in DOCUMENT["components"]["schemas"]
    )
    made = DOCUMENT["paths"]["/sessions"]["post"]["responses"]["201"]
    assert {link["operationId"] for link in made["links"].values()} <= names


def examples(node: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Every schema in the document that has examples, with each of them."""
    if isinstance(node, list):
        for each in node:
            yield from examples(each)
    elif isinstance(node, dict):
        if isinstance(node.get("examples"), list):
            yield from ((node, example) for example in node["examples"])
        for each in node.values():
            yield from examples(each)


def test_schemas_are_schemas_and_examples_fit_them() -> None:
    """JSON Schema's own schema accepts ours, and ours accept what they show."""
    shown = list(examples(DOCUMENT["components"]["schemas"]))
    assert len(shown) > 5
    for schema, example in shown:
        whole = {**schema, "components": DOCUMENT["components"]}
        jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate(schema)

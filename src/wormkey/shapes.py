"""The JSON that the control plane's API takes and gives: one schema for each content.

JSON Schema 2020-12, as OpenAPI 3.1 has it. Numbers come from where they are enforced. A request's
schema is as narrow as the check behind it, so that whoever keeps to it is refused for no reason
that the schema could have told. Pure data; which call uses which of them is openapi.py's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from wormkey.rules import (
    MAX_BLOCK_PATH_LENGTH,
    MAX_BLOCK_PATHS,
    MAX_CONTENT_BYTES,
    MAX_METHODS,
    MAX_NETWORKS,
    MAX_RATE,
    MAX_STREAMS,
    MAX_VIEWERS,
)
from wormkey.session import (
    DEFAULT_USERNAME,
    MAX_NAME_LENGTH,
    MAX_PASSWORD_LENGTH,
    MAX_USERNAME_LENGTH,
    MIN_NAME_LENGTH,
    spell_duration,
)
from wormkey.wishes import MAX_VIEWER_ID_LENGTH

if TYPE_CHECKING:
    from collections.abc import Mapping

Schema: TypeAlias = dict[str, object]

# No control characters, as every check of a text has it; JSON Schema's patterns are not anchored.
_NO_CONTROLS: Final = r"\u0000-\u001f\u007f-\u009f\u2028\u2029"
_SLUG: Final = rf"^[a-z][a-z0-9-]{{{MIN_NAME_LENGTH - 2},{MAX_NAME_LENGTH - 2}}}[a-z0-9]$"
_NAME: Final = _SLUG.replace("^", "^(?!..--)", 1)  # RFC 5890 §2.3.1
_BASE64URL_32: Final = r"[A-Za-z0-9_-]{43}"  # 32 bytes
_SLUG_EXAMPLE: Final = "brisk-otter-07-k3v9q2xa"
_ID_EXAMPLE: Final = "6f1d0c5be2a94d35a1f07c9e8b42d610"
_TIME_EXAMPLE: Final = "2027-01-31T12:00:00.000Z"

SLUG: Final[Schema] = {"type": "string", "pattern": _SLUG, "examples": [_SLUG_EXAMPLE]}
SESSION_ID: Final[Schema] = {
    "type": "string",
    "pattern": "^[0-9a-f]{32}$",
    "examples": [_ID_EXAMPLE],
}


def _object(members: Mapping[str, Schema], *optional: str, **more: object) -> Schema:
    required = [name for name in members if name not in optional]
    schema: Schema = {"type": "object", "properties": dict(members)}
    return (schema | {"required": required} if required else schema) | more


def _or_null(schema: Schema) -> Schema:
    """Let null stand for an absent member, as every check does."""
    return schema | {"type": [schema["type"], "null"]}


def _text(most: int, forbidden: str = "", *, least: int = 1) -> Schema:
    pattern = f"^[^{_NO_CONTROLS}{forbidden}]*$"
    return {"type": "string", "minLength": least, "maxLength": most, "pattern": pattern}


# ── answers ─────────────────────────────────────────────────────────────────────────────────

_TIME: Final[Schema] = {
    "type": "string",
    "format": "date-time",
    "pattern": "Z$",
    "description": "RFC 3339, in UTC",
    "examples": [_TIME_EXAMPLE],
}
_URL: Final[Schema] = {"type": "string", "format": "uri"}
_OK: Final[Schema] = {"const": True}


def _most(most: int, description: str) -> Schema:
    return {
        "type": ["integer", "null"],
        "minimum": 0,
        "maximum": most,
        "description": f"{description}; 0 or null: no limit",
    }


def _list(most: int, items: Schema, description: str) -> Schema:
    return {
        "type": ["array", "null"],
        "maxItems": most,
        "items": items,
        "description": description,
    }


_OCTET: Final = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_GROUP: Final = "(?:[0-9a-f]{1,4}:)"
# "No bits after the prefix" is more than a pattern can say: the usual lengths stand for all.
_NETWORK: Final[Schema] = {
    "type": "string",
    "anyOf": [
        {"pattern": rf"^{_OCTET}(?:\.{_OCTET}){{3}}(?:/32)?$"},
        {"pattern": rf"^{_OCTET}(?:\.0\.0\.0/8|\.{_OCTET}(?:\.0\.0/16|\.{_OCTET}\.0/24))$"},
        {"format": "ipv6"},
        {"pattern": f"^{_GROUP}(?:{_GROUP}?:/32|{_GROUP}{{0,2}}:/48|{_GROUP}{{0,3}}:/64)$"},
    ],
    "description": (
        "an address, or a network such as 203.0.113.0/24, without bits after its prefix; "
        "other lengths of the prefix are taken as well"
    ),
    "examples": ["203.0.113.0/24", "2001:db8::/32"],
}
_RULES: Final[dict[str, Schema]] = {
    "public": {"type": "boolean", "description": "false: nobody but the owner may enter"},
    "maxConcurrentViewers": _most(MAX_VIEWERS, "viewers at a time, 20 if absent"),
    "blockPaths": _list(
        MAX_BLOCK_PATHS,
        {
            "type": "string",
            "maxLength": MAX_BLOCK_PATH_LENGTH,
            "pattern": rf"^/[^{_NO_CONTROLS}?#%\\]*$",
        },
        "prefixes of whole path segments that nobody gets to see",
    ),
    "ignoreCase": {"type": "boolean", "description": "whether blockPaths mean /Admin by /admin"},
    "allowedNetworks": _list(MAX_NETWORKS, _NETWORK, "where viewers may come from; empty: all"),
    "deniedNetworks": _list(MAX_NETWORKS, _NETWORK, "where they may not; counts before allowed"),
    "allowedMethods": _list(
        MAX_METHODS,
        {"type": "string", "pattern": "^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"},
        "methods that pass; empty: all",
    ),
    "viewerRate": _most(MAX_RATE, "requests a second of one viewer"),
    "tunnelRate": _most(MAX_RATE, "requests a second of all viewers"),
    "maxStreamsPerViewer": _most(MAX_STREAMS, "exchanges of one viewer at a time, 128 if absent"),
    "maxStreams": _most(MAX_STREAMS, "exchanges of all viewers at a time, 1024 if absent"),
    "maxContentBytes": _most(MAX_CONTENT_BYTES, "the size of a request's content"),
}


def _certain(rule: Schema) -> Schema:
    """Return how a rule is written in an answer: never null."""
    kind = rule["type"]
    certain = rule | {"type": kind[0] if isinstance(kind, list) else kind}
    # Networks come back with their prefix, however they were spelled.
    return certain | {"items": {"type": "string"}} if rule.get("items") is _NETWORK else certain


_POLICY: Final = _object(
    {name: _certain(rule) for name, rule in _RULES.items()}
    | {"passwordProtected": {"type": "boolean", "description": "whether a form asks for one"}}
)


_SUM: Final[Schema] = {"type": "integer", "minimum": 0}
_USAGE: Final = _object(
    {
        "requests": _SUM,
        "receivedBytes": _SUM | {"description": "content from viewers"},
        "sentBytes": _SUM | {"description": "content to viewers"},
        "lastSeenAt": _or_null(_TIME) | {"description": "null: no viewer has come"},
    },
    description="what the session has carried in its whole life",
)
_PUBLIC_MEMBERS: Final[dict[str, Schema]] = {
    "sessionId": SESSION_ID,
    "slug": SLUG,
    "publicUrl": _URL,
    "expiresAt": _TIME,
    "createdAt": _TIME,
    "authMode": {"enum": ["none", "basic"]},
    "closed": {"type": "boolean", "description": "closed, or past its expiry"},
    "available": {"type": "boolean", "description": "alive, and its client is connected"},
}
_CREATED: Final = _object(
    {
        "sessionId": SESSION_ID,
        "slug": SLUG,
        "publicUrl": _URL | {"examples": [f"https://tunnels.example/s/{_SLUG_EXAMPLE}"]},
        "ownerUrl": _URL | {"description": "claims the ownership; holds the owner token"},
        "overlayScriptUrl": _URL,
        "edgeUrl": _URL | {"description": "where the client opens its tunnel"},
        "sessionToken": {
            "type": "string",
            "pattern": rf"{_SLUG[:-1]}\.{_BASE64URL_32}$",
            "description": "opens the tunnel and reads the session; shown this once",
        },
        "expiresAt": _TIME,
        "username": {"type": "string"},
        "password": {"type": "string", "description": "shown this once"},
    },
    "username",
    "password",
)


# ── requests ────────────────────────────────────────────────────────────────────────────────

_PASSWORD: Final = _text(MAX_PASSWORD_LENGTH) | {"description": "absent: one is generated"}


def _up_to(most: int) -> str:
    """Spell the whole numbers from 1 to ``most`` as a pattern."""
    digits = str(most)
    forms = [f"[1-9][0-9]{{0,{len(digits) - 2}}}"] if most > 9 else []
    for place, digit in enumerate(digits):
        least = 0 if place else 1
        if int(digit) > least:
            rest = len(digits) - place - 1
            forms.append(f"{digits[:place]}[{least}-{int(digit) - 1}][0-9]{{{rest}}}")
    return f"(?:{'|'.join([*forms, digits])})"


def _durations(most_s: int) -> str:
    """Spell the durations up to ``most_s`` seconds as a pattern (session.parse_expires_in)."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400}
    forms = [f"{_up_to(most_s // s)}{unit}" for unit, s in units.items() if s <= most_s]
    return f"^0*(?:{'|'.join(forms)})$"


_GATE_PASSWORD: Final = _or_null(_text(MAX_PASSWORD_LENGTH, least=0)) | {
    "description": 'what a form asks viewers for; null or "": nothing'
}
_WISHED_POLICY: Final = _object(_RULES | {"password": _GATE_PASSWORD}, *_RULES, "password")
# Of the two ways to make a session: without a user name, and with one.
_REQUIRED: Final = (["port"], ["port", "authMode"])


def _new_session(max_age_s: float) -> Schema:
    common: dict[str, Schema] = {
        "port": {
            "type": "integer",
            "minimum": 0,
            "maximum": 65535,
            "description": "what the client exposes; recorded, never dialled; 0 for none",
        },
        "expiresIn": {
            "type": ["string", "null"],
            "pattern": _durations(int(max_age_s)),
            "maxLength": 10,
            "description": f"a number and a unit; at most {spell_duration(max_age_s)} here",
            "examples": ["24h"],
        },
        "name": {
            "type": ["string", "null"],
            "pattern": _NAME,
            "description": "the slug to have; absent: one that nobody guesses",
        },
    }
    common["policy"] = _or_null(_WISHED_POLICY)
    free: Schema = {"type": "null"}
    ways = {
        "without a user name": common
        | {"username": free, "password": free}
        | {"authMode": {"enum": ["none", None], "default": "none"}},
        "with a user name and a password": common
        | {
            "authMode": {"const": "basic"},
            "username": _or_null(_text(MAX_USERNAME_LENGTH, ":")) | {"default": DEFAULT_USERNAME},
            "password": _or_null(_PASSWORD),
        },
    }
    return {
        "anyOf": [
            {**_object(members, title=title), "required": required}
            for (title, members), required in zip(ways.items(), _REQUIRED, strict=True)
        ],
        "examples": [
            {"port": 5173, "authMode": "none", "expiresIn": "24h"},
            {"port": 5173, "authMode": "basic", "username": "ann", "expiresIn": "30m"},
        ],
    }


def schemas(max_age_s: float) -> dict[str, Schema]:
    """Return every schema by its name; ``max_age_s`` is the longest life of a session."""
    return {
        "Alive": _object({"status": {"const": "control plane alive"}}),
        "Access": _object(
            {"ok": _OK, "name": {"type": "string", "description": "the access token's name"}}
        ),
        "NewSession": _new_session(max_age_s),
        "Created": _CREATED,
        "PublicSession": _object(_PUBLIC_MEMBERS, additionalProperties=False),
        "Session": _object(
            _PUBLIC_MEMBERS
            | {
                "edgeUrl": _URL,
                "port": {"type": "integer", "minimum": 0, "maximum": 65535},
                "username": {"type": ["string", "null"]},
                "policy": _POLICY,
                "closedAt": _or_null(_TIME),
                "usage": _USAGE,
            }
        ),
        "Policy": _WISHED_POLICY
        | {"examples": [{"maxConcurrentViewers": 5, "blockPaths": ["/admin"]}]},
        "PolicyChanged": _object({"ok": _OK, "policy": _POLICY}),
        "Kick": _object(
            {
                "viewerId": {
                    "type": "string",
                    "pattern": f"^[A-Za-z0-9_-]{{1,{MAX_VIEWER_ID_LENGTH}}}$",
                }
            },
            examples=[{"viewerId": "Yb3XcQ9vT2mK8sL1dR5wZA"}],
        ),
        "Kicked": _object(
            {"ok": _OK, "kickedViewerIds": {"type": "array", "items": {"type": "string"}}}
        ),
        "OwnerLink": _object(
            {"ok": _OK, "ownerUrl": _URL | {"description": "serves once; shown this once"}}
        ),
        "Done": _object({"ok": _OK}),
        "Error": _object(
            {
                "error": {"type": "string", "minLength": 1, "description": "one sentence"},
                "code": {"type": "string", "description": "a word for programs"},
            },
            additionalProperties=False,
        ),
    }

"""An owner's rules for viewers: the Policy value, and the one table of its members.

Owns which rules there are, what each may hold, and how they are written in JSON, for the API, the
owner's bar and the store alike. Pure; policy.py says what they mean for a request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

import attrs
from attrs import evolve, frozen

from wormkey.errors import AdmissionError, ConfigError
from wormkey.values import Network, parse_network

MAX_VIEWERS: Final = 10_000
MAX_BLOCK_PATHS: Final = 64
MAX_BLOCK_PATH_LENGTH: Final = 256
MAX_NETWORKS: Final = 64
MAX_METHODS: Final = 32
MAX_RATE: Final = 100_000  # requests a second; one process answers a tenth of it
MAX_STREAMS: Final = 10_000
MAX_CONTENT_BYTES: Final = 2**50  # a PiB; every JSON reader keeps it exactly
CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_METHOD: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z", re.ASCII)  # RFC 9110 §9.1


def _flag(value: object) -> bool:
    if isinstance(value, bool):
        return value
    raise ConfigError("must be true or false")


def _number(most: int) -> Callable[[object], int]:
    def parse(value: object) -> int:
        if value is None:
            return 0
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
            raise ConfigError(f"must be a whole number up to {most}, or 0 for no limit")
        return value

    return parse


def _texts(value: object, most: int, sentence: str) -> list[str]:
    """Return a list's texts; null is the empty list."""
    if value is None:
        return []
    if not isinstance(value, Sequence) or isinstance(value, str | bytes) or len(value) > most:
        raise ConfigError(sentence)
    texts = [item for item in cast("Sequence[object]", value) if isinstance(item, str)]
    if len(texts) != len(value):
        raise ConfigError(sentence)
    return texts


def _paths(value: object) -> tuple[str, ...]:
    sentence = (
        f"must be a list of at most {MAX_BLOCK_PATHS} paths that begin with / and hold no query"
    )
    texts = _texts(value, MAX_BLOCK_PATHS, sentence)
    if not all(map(_is_block_path, texts)):
        raise ConfigError(sentence)
    return tuple(texts)


def _is_block_path(path: str) -> bool:
    return (
        path.startswith("/")
        and len(path) <= MAX_BLOCK_PATH_LENGTH
        and not any(mark in path for mark in "?#\\%")
        and CONTROL.search(path) is None
    )


def _networks(value: object) -> tuple[Network, ...]:
    sentence = f"must be a list of at most {MAX_NETWORKS} networks such as 203.0.113.0/24"
    try:
        return tuple(parse_network(text) for text in _texts(value, MAX_NETWORKS, sentence))
    except ConfigError as error:
        raise ConfigError(sentence if str(error) == sentence else f"{sentence}: {error}") from None


def _methods(value: object) -> tuple[str, ...]:
    sentence = f"must be a list of at most {MAX_METHODS} methods such as GET"
    texts = _texts(value, MAX_METHODS, sentence)
    if not all(_METHOD.match(text) for text in texts):
        raise ConfigError(sentence)
    return tuple(dict.fromkeys(texts))


def _rule(name: str, parse: Callable[[object], Any], default: object) -> Any:  # noqa: ANN401
    """Return an attribute that is written ``name`` in JSON and read by ``parse``."""
    return attrs.field(default=default, metadata={"name": name, "parse": parse})


@frozen(kw_only=True)
class Policy:
    """What viewers of a session may do; the defaults let everybody see everything.

    Numbers of 0 mean no limit. ``block_paths`` are prefixes of whole path segments: ``/admin``
    blocks ``/admin`` and ``/admin/x``, not ``/administrator``. Rates are requests a second.
    """

    public: bool = _rule("public", _flag, True)
    max_concurrent_viewers: int = _rule("maxConcurrentViewers", _number(MAX_VIEWERS), 20)
    block_paths: tuple[str, ...] = _rule("blockPaths", _paths, ())
    ignore_case: bool = _rule("ignoreCase", _flag, True)
    allowed_networks: tuple[Network, ...] = _rule("allowedNetworks", _networks, ())
    denied_networks: tuple[Network, ...] = _rule("deniedNetworks", _networks, ())
    allowed_methods: tuple[str, ...] = _rule("allowedMethods", _methods, ())
    viewer_rate: int = _rule("viewerRate", _number(MAX_RATE), 0)
    tunnel_rate: int = _rule("tunnelRate", _number(MAX_RATE), 0)
    max_streams_per_viewer: int = _rule("maxStreamsPerViewer", _number(MAX_STREAMS), 128)
    max_streams: int = _rule("maxStreams", _number(MAX_STREAMS), 1024)
    max_content_bytes: int = _rule("maxContentBytes", _number(MAX_CONTENT_BYTES), 0)

    def as_json(self) -> dict[str, object]:
        """Return the policy with the API's names."""
        return {
            attribute.metadata["name"]: _plain(getattr(self, attribute.name))
            for attribute in attrs.fields(type(self))
        }


OPEN_TO_ALL: Final = Policy()
RULE_NAMES: Final = tuple(attribute.metadata["name"] for attribute in attrs.fields(Policy))


def _plain(value: object) -> object:
    if not isinstance(value, tuple):
        return value
    return [item if isinstance(item, str) else str(item) for item in value]


def parse_policy(document: object, base: Policy = OPEN_TO_ALL) -> Policy:
    """Return ``base`` with the members of a JSON policy; absent members stay as they are.

    ``password`` belongs to the session, not to this value, and is not read here. Members that are
    unknown are ignored.

    Raises:
        AdmissionError: 400 ``invalid_policy`` with one sentence that names the member.
    """
    if document is None:
        return base
    if not isinstance(document, dict):
        raise AdmissionError(400, "invalid_policy", "policy must be an object")
    wish = cast("Mapping[str, object]", document)
    changes = {}
    for attribute in attrs.fields(Policy):
        name = attribute.metadata["name"]
        if name in wish:
            try:
                changes[attribute.name] = attribute.metadata["parse"](wish[name])
            except ConfigError as error:
                raise AdmissionError(400, "invalid_policy", f"policy.{name} {error}") from None
    return evolve(base, **changes)

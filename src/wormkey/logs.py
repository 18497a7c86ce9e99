"""Log records on stderr: one a line, as text or JSON, without secrets.

The message of a record is its event, a short fixed text; what differs stands in ``extra``:
``log.info("session created", extra={"session": session_id})``. Modules only get loggers; this is
the one place that sets them up. Tokens, cookies, content and query strings are never logged; what
looks like one all the same is blotted out here, as a second line of defence.
"""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TextIO

if TYPE_CHECKING:
    from collections.abc import Mapping

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {
    "message",
    "asctime",
    "taskName",
}
_BLOT: Final = "[secret]"
_SECRET_NAMES: Final = re.compile(
    r"(^|_)(authorization|cookies?|passwords?|secrets?|tokens?)$", re.IGNORECASE
)
# The project's secrets are 256 random bits in base64url, 43 characters; slugs, ids and digests
# are in lower case. Schemes and query parts are what a library's own text may quote.
_SECRET_TEXTS: Final = re.compile(
    r"(?<![A-Za-z0-9_-])(?=[a-z0-9_-]*[A-Z])[A-Za-z0-9_-]{40,}"
    r"|(?<=token=)[^\s&\"]+|(?<=password=)[^\s&\"]+"
    r"|(?i:(?<=bearer )[^\s\"]+|(?<=basic )[A-Za-z0-9+/]{8,}=*)"
)
_BARE: Final = re.compile(r"[!#-<>-~]+")  # printable ASCII without space, quote and equals sign
_PRINTABLE: Final = re.compile(r"[ -~]+")


class _LineFormatter(logging.Formatter):
    """What both forms share: time, facts of a record, no secrets."""

    def facts(self, record: logging.LogRecord) -> dict[str, object]:
        """Return the ``extra`` of a record, and its exception as ``error`` and ``traceback``."""
        facts: dict[str, object] = {
            name: _BLOT if _SECRET_NAMES.search(name) else _shown(value)
            for name, value in record.__dict__.items()
            if name not in _STANDARD
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            facts["error"] = f"{type(error).__name__}: {error}"
            facts["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            facts["stack"] = record.stack_info
        return facts

    def time_of(self, record: logging.LogRecord) -> str:
        """Return the record's time by RFC 3339, in UTC, with milliseconds."""
        moment = datetime.fromtimestamp(record.created, UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextFormatter(_LineFormatter):
    """``2026-01-02T03:04:05.678Z info ready control=http://127.0.0.1:3001``, for people."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; what is not plain is quoted as JSON quotes it."""
        event = record.getMessage()
        parts = [
            self.time_of(record),
            record.levelname.lower(),
            event if _PRINTABLE.fullmatch(event) else json.dumps(event),
        ]
        parts += (f"{name}={_quoted(value)}" for name, value in self.facts(record).items())
        return _blotted(" ".join(parts))


class JsonFormatter(_LineFormatter):
    """``{"time": …, "level": "info", "logger": "wormkey.nursery", "event": "ready", …}``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one JSON object in ASCII; facts cannot replace time, level, logger or event."""
        line = self.facts(record) | {
            "time": self.time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
        }
        order = ("time", "level", "logger", "event")
        return _blotted(json.dumps({name: line.pop(name) for name in order} | line))


FORMATTERS: Final[Mapping[str, type[_LineFormatter]]] = {
    "text": TextFormatter,
    "json": JsonFormatter,
}


def set_up_logging(log_format: str, log_level: str, stream: TextIO) -> logging.Handler:
    """Send all records to ``stream``; a second call replaces what the first one set up.

    ``log_level`` (debug, info, warning, error) is the project's own; libraries are heard from
    warning upwards, since their debug records quote what peers sent. The access log has a switch
    of its own, so that no level silences it.
    """
    handler = logging.StreamHandler(stream)
    handler.set_name("wormkey")
    handler.setFormatter(FORMATTERS[log_format]())
    root = logging.getLogger()
    for earlier in [known for known in root.handlers if known.get_name() == "wormkey"]:
        root.removeHandler(earlier)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("wormkey").setLevel(log_level.upper())
    logging.getLogger("wormkey.access").setLevel(logging.INFO)
    logging.raiseExceptions = False  # a closed stderr must not end a daemon, nor be told to it
    logging.captureWarnings(capture=True)
    return handler


def _shown(value: object) -> object:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.decode("ascii", "backslashreplace") if isinstance(value, bytes) else str(value)


def _quoted(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _BARE.fullmatch(text) else json.dumps(text)


def _blotted(line: str) -> str:
    return _SECRET_TEXTS.sub(_BLOT, line)

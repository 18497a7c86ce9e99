"""The process's logging, put back as it was: records are global, tests are not."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def restored_logging() -> Iterator[None]:
    """Undo at the end whatever set_up_logging did."""
    root, ours = logging.getLogger(), logging.getLogger("wormkey")
    levels, handlers, raising = (
        (root.level, ours.level),
        list(root.handlers),
        logging.raiseExceptions,
    )
    try:
        yield
    finally:
        root.setLevel(levels[0])
        ours.setLevel(levels[1])
        root.handlers[:] = handlers
        logging.raiseExceptions = raising
        logging.captureWarnings(capture=False)

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
    root = logging.getLogger()
    known = [root, logging.getLogger("wormkey"), logging.getLogger("wormkey.access")]
    levels, handlers, raising = (
        [logger.level for logger in known],
        list(root.handlers),
        logging.raiseExceptions,
    )
    try:
        yield
    finally:
        for logger, level in zip(known, levels, strict=True):
            logger.setLevel(level)
        root.handlers[:] = handlers
        logging.raiseExceptions = raising
        logging.captureWarnings(capture=False)

"""How many connections the descriptors of this process allow.

Owns RLIMIT_NOFILE: raises the soft limit where the hard one lets it, and keeps descriptors back for
the store, the logs, the listeners and the API's calls. Where they are short, the control plane gets
an eighth of the rest and the gateway the others.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

KEPT_DESCRIPTORS: Final = 64  # about 20 are the program's own, 32 are for calls to the API's server
MIN_CONNECTIONS: Final = 8
_CONTROL_SHARE: Final = 8

_log = logging.getLogger(__name__)


def usable_connections(wanted: int, control: int) -> tuple[int, int]:
    """Return how many connections gateway and control plane may hold, at most what is wanted.

    Raises the process's soft limit to what that takes, as far as the hard limit goes.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + control + KEPT_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < needed:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
        except (OSError, ValueError) as error:  # a sandbox may forbid it
            _log.warning("descriptor limit stays", extra={"limit": soft, "reason": str(error)})
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return wanted, control
    free = soft - KEPT_DESCRIPTORS
    control = min(control, max(MIN_CONNECTIONS, free // _CONTROL_SHARE))
    usable = min(wanted, max(MIN_CONNECTIONS, free - control))
    _log.warning(
        "fewer connections than asked for: raise LimitNOFILE or lower --max-connections",
        extra={"connections": usable, "wanted": wanted, "control": control, "descriptors": soft},
    )
    return usable, control

"""The Autobahn cases, run by the program ``kosoku`` against a WebSocket URL."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

# Messages of up to 16 MB, and compression in every shape: minutes, of which most are the peers'.
LONG: Final = ("9.*", "12.*", "13.*")


# The smallest messages of each class with compression, a thousand a case: seconds.
DEFLATED: Final = (
    *(f"12.{kind}.1" for kind in range(1, 6)),
    *(f"13.{kind}.1" for kind in range(1, 8)),
)


@frozen
class Verdict:
    """What was said of one case: on its messages, and on its closing handshake."""

    case: str
    behavior: str
    close: str
    close_code: int | None

    @property
    def passed(self) -> bool:
        """Whether the peer did as RFC 6455 asks; some cases only look, and tell."""
        good = ("OK", "NON-STRICT", "INFORMATIONAL")
        return self.behavior in good and self.close in ("OK", "INFORMATIONAL")


async def run_cases(
    url: str,
    folder: Path,
    *,
    included: Iterable[str] = (),
    excluded: Iterable[str] = (),
    parallel: int = 4,
    limit_s: float,
) -> list[Verdict]:
    """Run the cases included (all, unless told) and not excluded; what was said of each."""
    command = [str(Path(sys.executable).with_name("kosoku")), "-p", str(parallel)]
    for cases in included:
        command += ["-i", cases]
    for cases in excluded:
        command += ["-x", cases]
    with trio.fail_after(limit_s):
        done = await trio.run_process(
            [*command, "-o", str(folder), url],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    index = folder / "index.json"
    assert index.exists(), (done.stdout, done.stderr)
    (agent,) = json.loads(index.read_text(encoding="utf-8")).values()
    return [
        Verdict(case, told["behavior"], told["behaviorClose"], told["remoteCloseCode"])
        for case, told in agent.items()
    ]

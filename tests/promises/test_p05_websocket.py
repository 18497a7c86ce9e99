"""P5: a WebSocket through the tunnel is the app's own, in every Autobahn case."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio

from tests.support import echo
from tests.support.autobahn import DEFLATED, LONG, run_cases
from tests.support.process import running, running_daemon
from tests.support.promise import QUICK, Promise
from tests.support.share import share

if TYPE_CHECKING:
    from pathlib import Path

CASES = 247  # of the classes 1 to 7 and 10
LONG_CASES = 54 + 216  # of class 9, and of 12 and 13


async def test_every_autobahn_case_passes_through_the_tunnel(
    promise: Promise, tmp_path: Path
) -> None:
    """Real daemon, real client, an app that echoes; quick runs take few long cases."""
    async with (
        running_daemon(tmp_path) as daemon,
        running((sys.executable, str(echo.__file__)), tmp_path) as app,
        trio.open_nursery() as nursery,
    ):
        port = int(await app.wait_line(app.out, bool))
        session, _ = await share(nursery, daemon, port)
        gateway = daemon.gateway[1]
        url = f"ws://127.0.0.1:{gateway}/s/{session['slug']}/"
        excluded, limit_s = (LONG, 120.0) if QUICK else ((), 3000.0)
        verdicts = await run_cases(url, tmp_path / "report", excluded=excluded, limit_s=limit_s)
        if QUICK:
            deflated = tmp_path / "deflated"
            verdicts += await run_cases(url, deflated, included=DEFLATED, limit_s=120.0)
        nursery.cancel_scope.cancel(reason="the cases are over")
    failed = [verdict for verdict in verdicts if not verdict.passed]
    print(*failed, sep="\n")
    promise.exactly(
        "cases run", len(verdicts), CASES + len(DEFLATED) if QUICK else CASES + LONG_CASES
    )
    promise.exactly("cases failed", len(failed), 0)

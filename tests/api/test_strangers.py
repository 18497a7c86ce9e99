"""The daemon's API against its own description, by schemathesis: a tool that knows nothing of us.

It reads /openapi.json and sends what the schemas allow and what they do not: examples, boundary
values, random data, and calls in a row. Every answer must be described, status and content; none
may be a 5xx; what a schema refuses must be refused, what it allows must not. `make api` runs it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from attrs import frozen

from tests.support.process import SOURCE, environment, running
from wormkey.openapi import CALLS, ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[2]
SEED = os.environ.get("WORMKEY_API_SEED", "1")  # another one looks elsewhere
BUDGET_S = 120.0  # for one run; 20 s are usual where nothing else runs
# schemathesis sends thousands of requests a minute from one address, and half of them are wrong.
FREE = ("session-creations", "token-creations", "live-sessions", "auth-failures", "misses")
STRANGER = (sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()")
CONFIG = Path(__file__).with_name("schemathesis.toml")
# A chosen password costs 0.2 s of a core, on purpose; thousands of them would hide everything else.
CHEAP = "from wormkey import daemon, policy; policy.SCRYPT_N = 16; daemon.main()"


@frozen
class Daemon:
    """A running daemon: where its API is, and the access token that it printed (token mode)."""

    url: str
    token: str


async def start(access: str, home: Path, nursery: trio.Nursery) -> Daemon:
    """Run a daemon until the nursery is cancelled."""
    options = [f"--max-{rate}=1000000" for rate in FREE]
    listen = ("--control", "127.0.0.1:0", "--gateway", "127.0.0.1:0")
    command = (
        sys.executable,
        "-c",
        CHEAP,
        *listen,
        "--store",
        "memory",
        "--access",
        access,
        *options,
    )
    await trio.Path(home).mkdir()

    async def serve(task_status: trio.TaskStatus[Daemon]) -> None:
        async with running((*command, "--log-format", "json"), home) as daemon:
            line = await daemon.wait_line(daemon.err, lambda line: '"ready"' in line)
            token = daemon.out[0].rpartition(" ")[2] if daemon.out else "none-is-needed"
            task_status.started(Daemon(json.loads(line)["control"], token))
            await daemon.ended.wait()

    return await nursery.start(serve)


async def ask_stranger(
    daemon: Daemon, home: Path, *, token: str, more_options: tuple[str, ...] = ()
) -> dict[str, set[int]]:
    """Run schemathesis to its end, fail with its report; return the statuses of each call."""
    command = (
        *(
            *STRANGER,
            "--config-file",
            str(CONFIG),
            "run",
            f"{daemon.url}/openapi.json",
            "--no-color",
            "--seed",
            SEED,
        ),
        *("--max-examples", "15", "--request-timeout", "5", *more_options),
    )
    seen = home / "seen.json"
    more = {
        "PYTHONPATH": os.pathsep.join((str(SOURCE), str(ROOT))),
        "SCHEMATHESIS_HOOKS": "tests.api.hooks",
        "API_URL": daemon.url,
        "API_ACCESS_TOKEN": token,
        "API_SEEN": str(seen),
    }
    started_at = time.monotonic()
    with trio.fail_after(BUDGET_S):
        done = await trio.run_process(
            command,
            env=environment(home, **more),
            cwd=home,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
        )
    report = done.stdout.decode()
    assert done.returncode == 0, report
    print(f"\nseed {SEED}, {time.monotonic() - started_at:.0f} s: {report.splitlines()[-1]}")
    answered: dict[str, list[int]] = json.loads(seen.read_text())
    return {label: set(statuses) for label, statuses in answered.items()}


@pytest.fixture
async def nursery() -> AsyncIterator[trio.Nursery]:
    """What a test starts ends with it."""
    async with trio.open_nursery() as opened:
        yield opened
        opened.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("access", ["token", "open"])
async def test_the_api_is_what_it_says(access: str, tmp_path: Path, nursery: trio.Nursery) -> None:
    """With the right tokens every call succeeds, and every wrong request is a described 4xx."""
    daemon = await start(access, tmp_path / "daemon", nursery)
    answered = await ask_stranger(daemon, tmp_path, token=daemon.token)
    for call in CALLS:
        label = f"{call.method} {call.path}"
        if call.name == "describe":
            continue  # it has been read, or nothing of this would have happened
        assert call.status in answered[label], (label, answered[label])


async def test_without_tokens_nothing_opens(tmp_path: Path, nursery: trio.Nursery) -> None:
    """Whoever has no token gets 401 where one is wanted, whatever else he sends."""
    daemon = await start("token", tmp_path / "daemon", nursery)
    answered = await ask_stranger(
        daemon, tmp_path, token="", more_options=("--phases", "coverage,fuzzing")
    )
    for call in CALLS:
        label = f"{call.method} {call.path}"
        if call.who != "anyone":
            wrong = {ERRORS[code].status for code in ("not_found", "method_not_allowed")}
            assert 401 in answered[label]
            assert answered[label] <= {401, *wrong}, (label, answered[label])

"""A reload of a running daemon: what begins afterwards goes by the new settings, for real."""

from __future__ import annotations

import json
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio

from tests.support.logs import restored_logging
from tests.support.manager import service_manager
from tests.support.plane import BODY, Plane, open_plane
from tests.support.world import open_world
from wormkey import reload
from wormkey.errors import ConfigError
from wormkey.notify import Notifier
from wormkey.reload import Reloader
from wormkey.values import parse_address, parse_network

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from wormkey.config import Settings
    from wormkey.node import Node

ORIGIN = "https://ui.example"


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with restored_logging():
        yield


async def reload_with(node: Node, **changes: Any) -> None:
    """Reload a daemon whose configuration says this now, beside what it said."""
    wanted = attrs.evolve(node.settings, **changes)
    await Reloader(node, Notifier(), lambda: wanted, lambda: "").reload()


async def allowed(plane: Plane) -> bool:
    """Whether a page of ORIGIN may read the control plane's answers."""
    answer = await plane.answer("GET", "/health", fields=((b"Origin", ORIGIN.encode()),))
    return b"access-control-allow-origin" in {name.lower() for name, _ in answer.head.fields}


async def test_origins_come_and_go(tmp_path: Path) -> None:
    """CORS and the right to create sessions, both."""
    async with open_plane(tmp_path) as plane:
        assert not await allowed(plane)
        await reload_with(plane.node, cors_origins=(ORIGIN,))
        assert await allowed(plane)
        await reload_with(plane.node, cors_origins=())
        assert not await allowed(plane)


async def test_a_rate_counts_at_once_and_forgets_nobody(tmp_path: Path) -> None:
    """Sixty unknown names a minute become one."""
    async with open_plane(tmp_path) as plane:
        assert (await plane.call("GET", "/sessions/by-slug/nobody"))[0] == 404
        await reload_with(plane.node, max_misses=1)
        assert (await plane.call("GET", "/sessions/by-slug/nobody"))[0] == 429


async def test_new_sessions_get_the_new_urls_and_the_new_longest_life(tmp_path: Path) -> None:
    """As after a restart, without one."""
    async with open_plane(tmp_path) as plane:
        urls = {"public_url": "https://new.example", "routing": "host", "edge_url": "wss://e.test"}
        await reload_with(plane.node, **urls, max_session_age_s=3600.0)
        made = await plane.create(expiresIn="1h")
        assert made["publicUrl"] == f"https://{made['slug']}.new.example"
        assert made["edgeUrl"] == "wss://e.test"
        status, error = await plane.call("POST", "/sessions", body=BODY | {"expiresIn": "2h"})
        assert (status, "expiresIn" in error["error"]) == (400, True)


async def test_a_proxy_is_trusted_from_the_next_connection_on() -> None:
    """What it says of the host decides where a request goes."""
    async with open_world() as world:
        forwarded = ((b"X-Forwarded-Host", world.authority),)
        assert (await world.exchange(authority=world.base, fields=forwarded)).data != b"hello"
        await reload_with(world.node, trusted_proxies=(parse_network("127.0.0.0/8"),))
        assert (await world.exchange(authority=world.base, fields=forwarded)).data == b"hello"


async def test_https_is_pinned_as_soon_as_a_proxy_is_trusted_to_speak_it(tmp_path: Path) -> None:
    """Strict-Transport-Security of the control plane follows the options as they are now."""
    async with open_plane(tmp_path) as plane:
        forwarded = (
            (b"X-Forwarded-Proto", b"https"),
            (b"X-Forwarded-Host", b"control.t.example"),
        )
        trusted = {"trusted_proxies": (parse_network("127.0.0.0/8"),)}
        seen = []
        for changes in ({}, trusted | {"public_url": "https://t.example"}):
            await reload_with(plane.node, **changes)
            answer = await plane.answer("GET", "/health", fields=forwarded)
            seen.append(answer.head.has(b"strict-transport-security"))
        assert seen == [False, True]


async def test_exchanges_and_connections_take_the_new_times_and_sizes() -> None:
    """--hold for who waits from now on, --max-target for the next connection."""
    async with open_world(client=False) as world:
        await reload_with(world.node, hold_s=0.0, max_target_bytes=1024)
        assert (await world.exchange()).error == b"no_tunnel"
        assert (await world.exchange(b"/" + b"x" * 2000)).status == 414


async def test_the_kernels_patience_follows_the_option() -> None:
    """TCP_USER_TIMEOUT of the connections accepted from now on: a longer one is not cut short."""
    async with open_world(client=False) as world:
        await reload_with(world.node, write_idle_timeout_s=300.0)
        await world.open_viewer()
        gateway = world.facts.gateway
        while not gateway._idle:  # noqa: ASYNC110 - nothing tells
            await trio.lowlevel.checkpoint()
        (connection,) = gateway._idle
        timeout_ms = connection.stream.socket.getsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT
        )
        assert timeout_ms == 300_000


async def test_a_tunnel_takes_the_new_limits_when_it_is_opened() -> None:
    """The one that is there keeps its own; its client's next one has the new."""
    async with open_world() as world:
        await reload_with(world.node, max_streams=7)
        (tunnel,) = world.node.tunnels
        await world.restart_client()
        while tunnel in world.node.tunnels or not world.node.tunnels:  # noqa: ASYNC110
            await trio.lowlevel.checkpoint()
        (after,) = world.node.tunnels
        limits = [each.mux._limits.max_streams for each in (tunnel, after)]
        assert limits == [1024, 7]


async def test_the_log_changes_with_the_reload(capsys: pytest.CaptureFixture[str]) -> None:
    """Level and form, from the next record on; the first one says what changed."""
    async with open_world(client=False) as world:
        await reload_with(world.node, log_format="text", log_level="debug", hold_s=1.0)
        logging.getLogger("wormkey.x").debug("seen")
    lines = capsys.readouterr().err.splitlines()
    assert 'info reloaded changed="--log-format --log-level --hold"' in lines[0]
    assert any(line.endswith("debug seen") for line in lines)


async def test_the_audit_log_moves_with_what_waited_for_the_old_file(tmp_path: Path) -> None:
    """No record is lost on the way; the reload itself has one."""
    old, new = tmp_path / "old", tmp_path / "new"
    async with open_world(client=False, audit_log=old) as world:
        await reload_with(world.node, audit_log=new, audit_records=7)
        await world.node.journal.flush()
        assert world.node.journal.keep_records == 7
        assert '"session.created"' in old.read_text()
        assert '"config.reloaded"' not in old.read_text()
        told = [json.loads(line) for line in new.read_text().splitlines()]
        assert [each["event"] for each in told] == ["config.reloaded"]
        assert told[0]["detail"] == {"changed": "--audit-log --audit-records"}
        await reload_with(world.node, audit_log=None)
        await world.node.journal.flush()
        assert len(new.read_text().splitlines()) == 1


async def test_what_takes_a_restart_is_named_and_stays(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The rest is applied all the same."""
    caplog.set_level(logging.INFO, logger="wormkey.reload")
    async with open_world(client=False) as world:
        old = world.node.settings
        await reload_with(world.node, gateway=parse_address(":9"), max_connections=1, hold_s=1.0)
        assert world.node.settings == attrs.evolve(old, hold_s=1.0)
    told = {record.getMessage(): record.__dict__ for record in caplog.records}
    assert told["reloaded"]["changed"] == "--hold"
    assert told["restart needed"]["options"] == "--gateway --max-connections"


@pytest.mark.parametrize("fault", ["bad", "slow", "bug"])
async def test_a_configuration_that_cannot_be_used_changes_nothing(
    fault: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One error record; the daemon serves on, and the manager is told that the reload is over."""
    monkeypatch.setattr(reload, "READ_TIMEOUT_S", 0.1)
    hung = threading.Event()

    def load() -> Settings:
        if fault == "slow":
            hung.wait(10)
        raise ConfigError("x.toml: unknown key") if fault == "bad" else RuntimeError("a bug")

    async with service_manager(tmp_path) as manager, open_world() as world:
        before = world.node.settings
        await Reloader(world.node, Notifier(manager.path), load, lambda: "as before").reload()
        hung.set()
        assert world.node.settings is before
        assert (await world.exchange()).data == b"hello"
        assert set(await manager.next()) == {"RELOADING", "MONOTONIC_USEC"}
        assert await manager.next() == {"READY": "1", "STATUS": "as before"}
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.getMessage() == "reload failed"


async def test_a_public_url_that_does_not_fit_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Together with --routing host, which was live before: checked as a whole."""
    async with open_world(client=False, routing="host") as world:
        before = world.node.settings
        await reload_with(world.node, public_url="http://192.0.2.1", hold_s=1.0)
        assert world.node.settings is before
        assert str(world.node.public) == f"http://localhost:{world.gateway[1]}"
    assert [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]


async def test_warnings_are_given_again(caplog: pytest.LogCaptureFixture) -> None:
    """A reload into an unwise configuration says so as the start does."""
    async with open_world(client=False) as world:
        await reload_with(world.node, trusted_proxies=(parse_network("0.0.0.0/0"),))
    warnings = [each.__dict__ for each in caplog.records if each.getMessage() == "configuration"]
    assert warnings[0]["warning"].startswith("with --trusted-proxy 0.0.0.0/0")

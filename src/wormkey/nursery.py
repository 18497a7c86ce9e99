"""THE task tree of the daemon. Read this file first.

    process nursery ─ signals ─ reload ─ successor ─ reaper ─ lag ─ leavers ─ journal ─ watchdog …
     ├ accept loop                      ends when the drain begins
     └ servers' nursery                 hypercorn: control plane, admin socket; stop by trigger
        └ handler nursery               outlives accept; its deadline is the drain's
           ├ viewer connection          one task, keep-alive loop
           └ tunnel connection          deadline = session expiry
              ├ reader ├ writer ├ keep-alive
              └ stream task             one per exchange; also ends with its viewer

Drain, in this order: accept nothing new; idle viewers and tunnels go; those under way finish, or
are cut at the deadline; the control plane stops last, so that its health says "draining"; then what
is written behind is written, then the store closes. A second signal cancels everything. Storage and
routing backends are chosen here and nowhere else.
"""

from __future__ import annotations

import itertools
import logging
import os
import secrets
import signal
import sys
from contextlib import ExitStack, asynccontextmanager, nullcontext
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import trio
from attrs import frozen

from wormkey import __version__
from wormkey.access import Access
from wormkey.audit import DAEMON, AuditEvent
from wormkey.auditlog import AuditLog
from wormkey.descriptors import usable_connections
from wormkey.errors import StoreError
from wormkey.facts import Facts
from wormkey.firsttoken import read_first_token
from wormkey.gateway import Gateway
from wormkey.journal import Journal
from wormkey.listeners import bound_port, listener_url
from wormkey.listening import Heirloom, Listening, close_all
from wormkey.metrics import Metrics
from wormkey.node import Node
from wormkey.notify import Notifier, watchdog_interval_s
from wormkey.predecessor import Predecessor
from wormkey.registry import Registry
from wormkey.reload import Reloader
from wormkey.routes.local import LocalRoutes
from wormkey.routing import PublicUrl
from wormkey.scopes import Drain
from wormkey.seats import Seats
from wormkey.serving import Accepting, ApiServers
from wormkey.signing import KEY_BYTES, SigningKey
from wormkey.statefolder import STORE_FILE, lock_state_folder, read_signing_key
from wormkey.store.memory import MemoryStore
from wormkey.successor import Successor
from wormkey.supervise import feed_watchdog, look_at, report_status
from wormkey.trail import Trail
from wormkey.values import FdAddress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from wormkey.config import Settings
    from wormkey.inheritance import Inheritance
    from wormkey.store import Store

logger = logging.getLogger(__name__)

REAP_S: Final = 1.0  # expiry is kept to the second
LAG_SAMPLE_S: Final = 1.0
SWEEPS_EVERY: Final = 60  # reaps; ended sessions are deleted once a minute


@frozen
class Running:
    """What a started daemon reports: its real addresses, and its shared parts for tests."""

    control_url: str
    gateway_url: str
    node: Node
    facts: Facts


@asynccontextmanager
async def open_store(settings: Settings, metrics: Metrics | None = None) -> AsyncIterator[Store]:
    """Open the store that the settings choose; close it at the end. ``metrics`` get its times.

    Raises:
        StoreError: it cannot be opened.
    """
    store: Store
    if settings.store == "memory":
        store = MemoryStore()
    else:
        # Lazy: sqlite3 costs start-up time and memory that --store memory does not need.
        from wormkey.store.sqlite import open_sqlite  # noqa: PLC0415

        observe = (metrics or Metrics()).observe_store
        store = await open_sqlite(settings.state_dir / STORE_FILE, observe=observe)
    try:
        yield store
    finally:
        with trio.move_on_after(settings.close_timeout_s, shield=True):
            await store.aclose()


async def serve(
    settings: Settings,
    load: Callable[[], Settings] | None = None,
    inheritance: Inheritance | None = None,
    *,
    task_status: trio.TaskStatus[Running] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the daemon until a signal (or the node's drain) ends it.

    ``load`` reads the settings anew for a reload; without it SIGHUP is not ours. ``inheritance``
    is what another daemon leaves, which hands over to this one.

    Raises:
        OSError: an address cannot be listened at.
        ConfigError: the settings do not fit together.
        StoreError: the store cannot be opened, or another daemon has the state folder.

    Cancellation: everything is cut, nothing drained.
    """
    # A throw-away daemon in open mode leaves nothing in the folder, so many may share it.
    shared = settings.store == "memory" and settings.access == "open"
    inherited = None if inheritance is None else inheritance.lock
    folder = nullcontext(-1) if shared else lock_state_folder(settings.state_dir, inherited)
    with folder as lock:  # before the store: a newer daemon must not migrate a file in use
        await _serve(settings, load, Heirloom(inheritance, lock), task_status)


async def _serve(
    settings: Settings,
    load: Callable[[], Settings] | None,
    heirloom: Heirloom,
    task_status: trio.TaskStatus[Running],
) -> None:
    metrics = Metrics()
    with ExitStack() as opened:
        control = await heirloom.listen("control", settings.control)
        opened.callback(close_all, control)
        gateway = await heirloom.listen("gateway", settings.gateway)
        opened.callback(close_all, gateway)
        admin = await heirloom.listen_privately(settings)
        opened.callback(close_all, admin)
        predecessor = None
        if heirloom.inheritance is not None:
            predecessor = Predecessor.of(heirloom.inheritance)
            await predecessor.wait_go()
        async with open_store(settings, metrics) as store:
            node = await _assemble(settings, store, metrics, bound_port(gateway))
            listening = Listening(control, gateway, admin, heirloom.lock)
            parts = _Parts.of(node, listening, predecessor)
            try:
                await _run(parts, load, task_status)
            finally:
                with trio.move_on_after(settings.close_timeout_s, shield=True):
                    await _write_the_rest(node)


async def _assemble(
    settings: Settings, store: Store, metrics: Metrics, gateway_port: int | None
) -> Node:
    routes = LocalRoutes()
    audit_log = None if settings.audit_log is None else AuditLog(settings.audit_log)
    journal = Journal(store, routes.meters, settings.audit_records, audit_log)
    trail = Trail(_now, journal.publish, journal.behind)
    registry = Registry(store, routes, _now, settings, trail)
    await registry.load()
    access = Access(store, _now, settings, trail, journal.use_token)
    given = read_first_token(os.environ)
    if given is not None:
        await access.take_first(given)
    return Node(
        settings=settings,
        registry=registry,
        access=access,
        journal=journal,
        routes=routes,
        public=PublicUrl.parse(settings.public_url_at(gateway_port)),
        edge_url=settings.edge_url_at(gateway_port),
        now=_now,
        drain=Drain(),
        version=__version__,
        metrics=metrics,
        key=_signing_key(settings),
        gateway_port=gateway_port,
    )


def _signing_key(settings: Settings) -> SigningKey:
    """Return the key that signs cookies: a store that forgets at exit goes with one that does."""
    if settings.store == "memory":
        return SigningKey(secrets.token_bytes(KEY_BYTES))
    return read_signing_key(settings.state_dir)


async def _write_the_rest(node: Node) -> None:
    """Store what is still written behind, and let go of the audit log.

    Cancellation: before the store or the log begins to write; that part is lost.
    """
    if not node.drain.passing:  # else the daemon goes on, in another process
        node.journal.behind(node.registry.trail.record(AuditEvent.DAEMON_STOPPED, DAEMON))
    try:
        await node.journal.flush()
    finally:
        node.journal.close()


def _now() -> datetime:
    return datetime.now(UTC)


@frozen
class _Parts:
    """What the tasks of one daemon share."""

    node: Node
    listening: Listening
    viewers: Gateway
    facts: Facts
    notifier: Notifier
    predecessor: Predecessor | None
    successor: Successor
    max_control: int  # connections of the control plane, as far as the descriptors go

    @classmethod
    def of(cls, node: Node, listening: Listening, predecessor: Predecessor | None) -> _Parts:
        store_path = node.settings.state_dir / STORE_FILE
        settings = node.settings
        seats, control = usable_connections(
            settings.max_connections, settings.max_control_connections
        )
        viewers = Gateway(node, Seats(seats))
        facts = Facts(
            node=node,
            gateway=viewers,
            control_url=listener_url(listening.control, "http"),
            gateway_url=listener_url(listening.gateway, "http"),
            store_path=None if node.settings.store == "memory" else store_path,
        )
        notifier = Notifier.from_environment()
        successor = Successor(
            node, notifier, lambda channel: listening.bequeath(node.settings, channel)
        )
        if predecessor is not None:
            node.journal.told = predecessor.note
        return cls(node, listening, viewers, facts, notifier, predecessor, successor, control)


async def _run(
    parts: _Parts, load: Callable[[], Settings] | None, task_status: trio.TaskStatus[Running]
) -> None:
    node, listening = parts.node, parts.listening
    async with trio.open_nursery() as process:
        process.start_soon(_watch_signals, node.drain, process.cancel_scope)
        if load is not None:
            process.start_soon(Reloader(node, parts.notifier, load, parts.facts.line).watch)
            process.start_soon(parts.successor.watch)
        process.start_soon(_reap, node)
        process.start_soon(measure_lag, node.metrics)
        process.start_soon(parts.viewers.run)
        process.start_soon(node.journal.run)
        _report(process, parts)
        async with trio.open_nursery() as servers:
            sockets = (listening.control, listening.admin)
            api = ApiServers(servers, node, parts.facts, *sockets, parts.max_control)
            await api.resume()
            await _serve_viewers(process, parts, api, task_status)
            api.stop()
            # The front's own bound is half of it, and hypercorn's behind it the other half.
            servers.cancel_scope.deadline = trio.current_time() + 2 * node.settings.close_timeout_s
        process.cancel_scope.cancel(reason="the daemon stops")
    logger.info("stopped")


def _report(process: trio.Nursery, parts: _Parts) -> None:
    """Start what the service manager asked for, if there is one."""
    notifier, listening = parts.notifier, parts.listening
    interval_s = watchdog_interval_s(os.environ, os.getpid())
    if interval_s is not None:
        look = look_at(parts.viewers, listening.control, listening.gateway)
        process.start_soon(feed_watchdog, notifier, interval_s, look)
    if notifier.path:
        process.start_soon(report_status, notifier, parts.facts.line)


async def _serve_viewers(
    process: trio.Nursery,
    parts: _Parts,
    api: ApiServers,
    task_status: trio.TaskStatus[Running],
) -> None:
    """Accept viewers and tunnels until the drain begins; return when all of them are done."""
    node, viewers = parts.node, parts.viewers
    running = Running(parts.facts.control_url, parts.facts.gateway_url, node, parts.facts)
    async with trio.open_nursery() as handlers:
        # The accept loop ends when the drain begins, before its handlers' nursery does.
        accepting = Accepting(process, viewers, parts.listening.gateway, handlers)
        await accepting.resume()
        await _announce(running, parts)
        if parts.predecessor is not None:
            process.start_soon(parts.predecessor.attend, node.routes.meter_of)
        parts.successor.accepting = (api, accepting)
        node.started.set()
        task_status.started(running)
        await node.drain.wait()
        timeout_s = node.settings.drain_timeout_s
        logger.info("draining", extra={"timeout_s": timeout_s})
        parts.notifier.stopping(parts.facts.line())
        await accepting.pause()
        if not (node.drain.passing or isinstance(node.settings.gateway, FdAddress)):
            accepting.take_waiting()  # else the next process accepts them
        close_all(parts.listening.gateway)
        handlers.cancel_scope.deadline = trio.current_time() + timeout_s
        await viewers.drain()


async def _announce(running: Running, parts: _Parts) -> None:
    node = parts.node
    started = node.registry.trail.record(AuditEvent.DAEMON_STARTED, DAEMON, version=node.version)
    node.journal.behind(started)
    await node.journal.flush()  # so that it stands before what the daemon does
    token = await node.access.ensure_first()
    if token is not None:
        # Standard output, once: a log would keep the secret.
        sys.stdout.write(f"wormkey login {_login_url(parts)} --token {token}\n")
        sys.stdout.flush()
    extra = {"control": running.control_url, "gateway": running.gateway_url}
    logger.info("ready", extra=extra)
    parts.notifier.ready(f"control={running.control_url} gateway={running.gateway_url}")


def _login_url(parts: _Parts) -> str:
    """Return the control plane's URL for a laptop, as far as this daemon can know it.

    Whoever finds the gateway by its public name finds every interface by it.
    """
    name = parts.node.public.host.decode()
    url = listener_url(parts.listening.control, "http", wildcard=name)
    return "CONTROL_PLANE_URL" if url.startswith("unix:") else url


async def _watch_signals(drain: Drain, scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            logger.info("signal", extra={"signal": signal.Signals(number).name})
            if drain.draining:
                scope.cancel(reason="a second signal")
            drain.start()


async def _reap(node: Node) -> None:
    """End sessions whose time is over; forget those that ended long ago."""
    for count in itertools.count(1):
        await trio.sleep(REAP_S)
        if node.drain.passing:  # the next process does it; tunnels here know their time themselves
            continue
        try:
            node.registry.expire(node.now())
            if count % SWEEPS_EVERY == 0:
                await node.registry.sweep(node.now())
        except StoreError as error:
            logger.warning("sweep failed", extra={"reason": str(error)})


async def measure_lag(metrics: Metrics) -> None:
    """Observe how late this task wakes: so long does every other ready task wait, too.

    Cancellation: stops measuring.
    """
    while True:
        due = trio.current_time() + LAG_SAMPLE_S
        await trio.sleep_until(due)
        metrics.loop_lag.observe(trio.current_time() - due)

"""``wormkeyd status``: how the running daemon is, for people and for scripts.

Owns how the facts are spelt. The daemon makes them (facts.py); the admin socket carries them.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import click

from wormkey.command import EXIT_UNEXPECTED, ask_running, fail, settings_of, with_options

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MIB: Final = 1024 * 1024
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@with_options(hidden=True)
@click.pass_context
def status(context: click.Context, /, *, as_json: bool, **flags: Any) -> int:  # noqa: ANN401
    """Tell how the running daemon is: exit 0, or 1 when none runs with this state folder."""
    settings = settings_of(context, flags)
    facts = ask_running(settings, "GET", "/status")
    if facts is None:
        return fail(f"no daemon runs with the state folder {settings.state_dir}", EXIT_UNEXPECTED)
    if as_json:
        click.echo(json.dumps(facts))
        return 0
    for name, text in rows(facts):
        click.echo(f"{name:<12}{text}")
    return 0


def rows(facts: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the lines of the text form, each by its name."""
    versions = dict(facts["versions"])
    draining = ", draining" if facts["draining"] else ""
    uptime = duration(facts["uptime_s"])
    yield "wormkeyd", f"{versions.pop('wormkey')}, process {facts['pid']}, up {uptime}{draining}"
    yield "control", facts["control_url"]
    yield "gateway", facts["gateway_url"]
    yield "public", f"{facts['public_url']}, tunnels at {facts['edge_url']}"
    sessions, tunnels = facts["sessions"], facts["tunnels"]
    yield "sessions", f"{sessions['live']} live, {sessions['ended']} ended lately"
    by_version = ", ".join(f"{count} {version}" for version, count in tunnels.items())
    yield "tunnels", f"{sum(tunnels.values())} ({by_version})"
    yield "streams", str(facts["streams"])
    yield "viewers", f"{facts['viewer_connections']} connections"
    memory = facts["memory_bytes"]
    yield "memory", "unknown" if memory is None else f"{memory / _MIB:.1f} MiB"
    descriptors = facts["descriptors"]
    opened = "unknown" if descriptors["open"] is None else descriptors["open"]
    yield "descriptors", f"{opened} open, {descriptors['limit']} at most"
    store = facts["store"]
    yield "store", store["kind"] if store["path"] is None else f"{store['kind']} {store['path']}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions.items())


def duration(seconds: float) -> str:
    """Spell a time in its two largest units: ``2 d 3 h``, ``5 min 0 s``, ``7 s``."""
    rest = max(0, int(seconds))
    parts: list[str] = []
    for name, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts or size == 1:
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])

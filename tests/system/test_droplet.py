"""README.md, "On a droplet", from an empty machine to a page and a WebSocket through Caddy."""

from __future__ import annotations

import contextlib
import re
import threading
from typing import TYPE_CHECKING

from tests.system.story import CADDY_OPTIONS, CADDYFILE, Story, blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.droplet import Droplet

START_TIMEOUT_S = 20.0


@contextlib.contextmanager
def serving(story: Story, script: str) -> Iterator[str]:
    """Run a program on the laptop that goes on; yield the first line that it says."""
    process = story.on_laptop(script)
    assert process.stdout is not None
    watchdog = threading.Timer(START_TIMEOUT_S, story.droplet.stop, (process,))
    watchdog.start()
    try:
        line = process.stdout.readline().strip()
        watchdog.cancel()
        assert line, process.communicate(timeout=START_TIMEOUT_S)
        yield line
    finally:
        watchdog.cancel()
        story.droplet.stop(process)


def test_every_command_of_the_readme_leads_to_a_shared_url(droplet: Droplet) -> None:
    """Typed in their order; what they print is what the README shows."""
    story = Story.begin(droplet)
    assert story.install() == ["wormkey login https://control.tunnel.example.com --token wk_…"]
    (caddyfile,) = blocks("caddyfile")
    droplet.write(CADDYFILE, CADDY_OPTIONS + caddyfile)

    reload, login, expose, shown = blocks("console")[1].splitlines()
    assert reload.startswith("droplet# ")
    story.on_droplet(reload.removeprefix("droplet# "))
    assert login.startswith("laptop$ ")
    story.finish_on_laptop(login.removeprefix("laptop$ ").replace("wk_…", story.token))
    assert expose.startswith("laptop$ ")
    port = expose.split()[-1]
    with (
        serving(story, f"exec python tests/system/app.py {port}") as said,
        serving(story, "exec " + expose.removeprefix("laptop$ ")) as url,
    ):
        assert said == "listening"
        assert re.fullmatch(shown.rpartition("/")[0] + r"/[a-z]+-[a-z]+-\d+-\w{8}", url)
        seen = story.finish_on_laptop(f"python tests/system/visit.py {url}")
    assert seen.splitlines() == ["200 hello from the laptop", "echo: a word"]

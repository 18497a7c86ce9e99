"""README.md, "On a droplet", from an empty machine to a page and a WebSocket through Caddy."""

from __future__ import annotations

import re

from tests.system.story import CADDY_OPTIONS, CADDYFILE, Story, blocks


def test_every_command_of_the_readme_leads_to_a_shared_url(story: Story) -> None:
    """Typed in their order; what they print is what the README shows."""
    assert story.printed == "wormkey login https://control.tunnel.example.com --token wk_…\n"
    (caddyfile,) = blocks("caddyfile")
    story.droplet.write(CADDYFILE, CADDY_OPTIONS + caddyfile)

    reload, login, expose, shown = blocks("console")[1].splitlines()
    assert reload.startswith("droplet# ")
    story.on_droplet(reload.removeprefix("droplet# "))
    assert login.startswith("laptop$ ")
    story.finish_on_laptop(login.removeprefix("laptop$ ").replace("wk_…", story.token))
    assert expose.startswith("laptop$ ")
    port = expose.split()[-1]
    with (
        story.serving(f"exec python tests/system/app.py {port}") as said,
        story.serving("exec " + expose.removeprefix("laptop$ ")) as url,
    ):
        assert said == "listening"
        assert re.fullmatch(shown.rpartition("/")[0] + r"/[a-z]+-[a-z]+-\d+-\w{8}", url)
        seen = story.finish_on_laptop(f"python tests/system/visit.py {url}")
    assert seen.splitlines() == ["200 hello from the laptop", "echo: a word"]

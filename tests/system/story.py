"""README.md, "On a droplet": its commands as they stand, typed on a droplet and on a laptop.

What is not as it stands: ssh and apt-get are stand-ins, pip finds its wheels in a folder, and Caddy
signs with a CA of its own, which the laptop trusts. Names, ports and everything else are real. The
laptop is the same machine with a HOME and a wormkey of its own.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define

from tests.system import wheels
from tests.system.droplet import COMMAND_TIMEOUT_S, SYSTEM_PATH, Droplet

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = "/run/droplet/bin"
WHEELS = "/run/droplet/wheels"
AUTHORITY = "/var/lib/caddy/.local/share/caddy/pki/authorities/local/root.crt"
CADDYFILE = "/etc/caddy/Caddyfile"
START_TIMEOUT_S = 20.0
WORMKEYD = "/opt/wormkey/venv/bin/wormkeyd"
# The README's file behind these: a CA of Caddy's own in the place of one that must reach it.
CADDY_OPTIONS = "{\n\tlocal_certs\n\tskip_install_trust\n}\n"
SSH = '#!/bin/sh\ntest "$1" = root@tunnel.example.com || exit 1\nshift\nexec "$@"\n'
# The packages are there already. Debian starts a web server when it installs one.
APT_GET = """#!/bin/sh
echo "$@" >> /run/droplet/apt-get
case "$*" in *caddy*) exec systemctl start caddy ;; esac
"""
# What is not committed yet is tried, too. The droplet has a copy of the repository, so this one
# does not notice.
TREE = '"$(git add -A; git -c user.name=x -c user.email=x stash create | grep . || echo HEAD)"'


def blocks(language: str) -> list[str]:
    """The code blocks of the section that are in this language."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^### On a droplet\n(.*?)^##", text, re.MULTILINE | re.DOTALL)
    assert section is not None
    return re.findall(rf"```{language}\n(.*?)```", section[1], re.DOTALL)


@define(eq=False)
class Story:
    """The two machines, and the token that one gave to the other."""

    droplet: Droplet
    token: str = "wk_…"
    printed: str = ""  # by the last command of the installation; the token is wk_… there

    @classmethod
    def begin(cls, droplet: Droplet) -> Story:
        """Put the stand-ins on an empty droplet."""
        droplet.write(f"{STAND_INS}/ssh", SSH, "755")
        droplet.write(f"{STAND_INS}/apt-get", APT_GET, "755")
        # The copy of this machine may have been made before the wheels were: hand them over.
        droplet.copy(wheels.fetch(), WHEELS)
        return cls(droplet)

    def on_droplet(self, script: str) -> str:
        """Run a script on the droplet; return what it wrote to stdout."""
        return self.droplet.run(
            script,
            PATH=f"{STAND_INS}:{SYSTEM_PATH}",
            PIP_CONFIG_FILE="/dev/null",
            PIP_NO_INDEX="1",
            PIP_FIND_LINKS=WHEELS,
            PIP_ROOT_USER_ACTION="ignore",
        ).stdout

    def on_laptop(self, script: str) -> subprocess.Popen[str]:
        """Start a script on the laptop, in the checkout."""
        environment = {
            "PATH": f"{STAND_INS}:{Path(sys.executable).parent}:{SYSTEM_PATH}",
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": "/run/droplet/laptop",
            "SSL_CERT_FILE": AUTHORITY,
        }
        return self.droplet.start(script, str(ROOT), **environment)

    def finish_on_laptop(self, script: str) -> str:
        """Run a script on the laptop to its end; return what it wrote to stdout."""
        with self.on_laptop(script) as process:
            out, err = process.communicate(timeout=COMMAND_TIMEOUT_S)
        assert process.returncode == 0, f"{script}\n{out}{err}"
        return out

    @contextlib.contextmanager
    def serving(self, script: str) -> Iterator[str]:
        """Run a program on the laptop that goes on; yield the first line that it says."""
        process = self.on_laptop(script)
        assert process.stdout is not None
        watchdog = threading.Timer(START_TIMEOUT_S, self.droplet.stop, (process,))
        watchdog.start()
        try:
            line = process.stdout.readline().strip()
            watchdog.cancel()
            assert line, process.communicate(timeout=START_TIMEOUT_S)
            yield line
        finally:
            watchdog.cancel()
            self.droplet.stop(process)

    def install(self) -> None:
        """Type the first block, up to the service that runs."""
        expected = []
        printed = ""
        for line in blocks("console")[0].splitlines():
            prompt, _, command = line.partition(" ")
            if prompt == "droplet#":
                printed = self.on_droplet(command)
            elif prompt == "laptop$":
                self.finish_on_laptop(command.replace(" HEAD ", f" {TREE} ", 1))
            else:
                expected.append(line)
        self.token = printed.split()[-1]
        self.printed = printed.replace(self.token, "wk_…")
        assert self.printed.splitlines() == expected

"""A machine that `wormkeyd install` may change: a root of its own, and a systemctl that notes."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import define, field

from tests.support.logs import restored_logging
from wormkey.config import OPTIONS
from wormkey.daemon import run

if TYPE_CHECKING:
    from collections.abc import Iterator


PROGRAM = "/opt/wormkey/venv/bin/wormkeyd"
UNIT = "etc/systemd/system/wormkey.service"
CONFIG = "etc/wormkey/wormkeyd.toml"
CREDENTIAL = "etc/credstore/wormkey.first-token"
STATE = "var/lib/private/wormkey"
START = ["daemon-reload", "enable wormkey.service", "start wormkey.service"]
RESTART = [*START[:2], "restart wormkey.service"]
# Notes its calls; a start makes the state folder as systemd and the daemon do, or fails if told.
SYSTEMCTL = f"""#!/bin/sh
echo "$@" >> "$STAND_IN/calls"
case "$1" in
start|restart)
    test ! -e "$STAND_IN/broken" || exit 1
    mkdir -p "$STAND_IN/tree/{STATE}"
    echo x > "$STAND_IN/tree/{STATE}/wormkeyd.sqlite3"
    ln -sfn private/wormkey "$STAND_IN/tree/var/lib/wormkey" ;;
esac
"""


@define
class Machine:
    """A private root, and the calls of systemctl."""

    folder: Path
    capsys: pytest.CaptureFixture[str]
    said: str = field(default="")

    @property
    def root(self) -> Path:
        """What stands for /."""
        return self.folder / "tree"

    def command(self, *arguments: str) -> tuple[int, str]:
        """Run wormkeyd; return its exit code and its stdout, and keep its stderr."""
        code = run([arguments[0], "--root", str(self.root), *arguments[1:]])
        out, self.said = self.capsys.readouterr()
        return code, out

    def install(self, *arguments: str) -> tuple[int, str]:
        """Run wormkeyd install for PROGRAM."""
        return self.command("install", "--program", PROGRAM, *arguments)

    def calls(self) -> list[str]:
        """What systemctl was asked since the last look."""
        path = self.folder / "calls"
        lines = path.read_text().splitlines() if path.exists() else []
        path.unlink(missing_ok=True)
        return lines

    def files(self) -> set[str]:
        """Every file and link below the root."""
        return {
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.is_file() or path.is_symlink()
        }


@contextmanager
def private_machine(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Machine]:
    """Give an empty machine that runs systemd."""
    for option in OPTIONS:
        for name in option.variables:
            monkeypatch.delenv(name, raising=False)
    (folder / "bin").mkdir()
    systemctl = folder / "bin" / "systemctl"
    systemctl.write_text(SYSTEMCTL)
    systemctl.chmod(0o755)
    (folder / "tree").mkdir()
    monkeypatch.setenv("PATH", f"{folder}/bin:/usr/bin:/bin")
    monkeypatch.setenv("STAND_IN", str(folder))
    with restored_logging():
        yield Machine(folder, capsys)

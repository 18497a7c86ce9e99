"""wormkey.service as systemd's own tools judge it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

UNIT = Path(__file__).resolve().parents[2] / "wormkey.service"
MOST_EXPOSURE = 1.5


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run systemd-analyze."""
    return subprocess.run(
        ("systemd-analyze", *arguments),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_unit_has_no_mistake(tmp_path: Path) -> None:
    """Every key is known and every value parses; its program is there, on a machine that has it."""
    text = UNIT.read_text()
    program = "ExecStart=/usr/local/bin/wormkeyd\n"
    assert text.count(program) == 1
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(program, "ExecStart=/bin/true\n"))
    done = analyze("verify", "--man=no", str(copy))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_socket_units_have_no_mistake(tmp_path: Path) -> None:
    """Both sockets are passed under the names that the daemon takes."""
    text = UNIT.read_text().replace("/usr/local/bin/wormkeyd", "/bin/true")
    (tmp_path / UNIT.name).write_text(text)
    copies = []
    for name in ("wormkey.socket", "wormkey-control.socket"):
        copy = tmp_path / name
        copy.write_text(UNIT.with_name(name).read_text())
        copies.append(str(copy))
    done = analyze("verify", "--man=no", *copies)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    names = [re.findall(r"FileDescriptorName=(\w+)", Path(copy).read_text()) for copy in copies]
    assert names == [["gateway"], ["control"]]


def test_verify_would_notice(tmp_path: Path) -> None:
    """The test above can fail."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("RestartSec=1", "RestartSecs=1"))
    done = analyze("verify", "--man=no", str(copy))
    assert "'RestartSecs'" in done.stderr


def test_the_sandbox_is_tight() -> None:
    """An exposure of 1.5 at most; an unhardened unit has 9.6."""
    done = analyze("security", "--offline=true", "--no-pager", str(UNIT))
    found = re.search(r"Overall exposure level for wormkey\.service: (\d+\.\d)", done.stdout)
    assert found is not None, done.stdout + done.stderr
    print(f"exposure {found[1]}")
    assert float(found[1]) <= MOST_EXPOSURE

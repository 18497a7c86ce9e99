"""What pip installs on the droplet, which has no network: wheels, fetched once for its Python."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PYTHON = "/usr/bin/python3"  # the droplet's, and what the README says there
TIMEOUT_S = 300.0


def fetch() -> Path:
    """Return the folder of the wheels that this project and its build need."""
    wanted = [(ROOT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    name = hashlib.sha256(b"\0".join(wanted)).hexdigest()[:16]
    folder = ROOT / ".work" / "system" / f"wheels-{name}"
    if folder.is_dir():
        return folder
    unfinished = folder.with_name(f"{folder.name}.part")
    venv = unfinished / "venv"
    subprocess.run((PYTHON, "-m", "venv", str(venv)), check=True, timeout=TIMEOUT_S)
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    download = (str(venv / "bin" / "pip"), "download", "--quiet", "--dest", str(unfinished))
    subprocess.run((*download, *constraints, str(ROOT), "hatchling"), check=True, timeout=TIMEOUT_S)
    subprocess.run(("rm", "-r", str(venv)), check=True, timeout=TIMEOUT_S)
    unfinished.rename(folder)
    return folder

"""What the browser tests need besides Python: Chromium, Node, and packages of the npm registry.

`make browser` runs this first. It names what is missing and ends with status 1, or installs the
npm packages of package.json into a folder outside the source, once for each package.json.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
WORKSHOP = Path(
    os.environ.get("WORMKEY_BROWSER_DIR") or HERE.parent.parent / ".work" / "browser"
).resolve()
MODULES = WORKSHOP / "node_modules"
MANIFEST = ("package.json", ".npmrc")

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
LEAST_NODE = (20, 19)  # what Vite 8 and Next 16 ask for
INSTALL_TIMEOUT_S = 600


def chromium() -> str | None:
    """The browser's path: $CHROMIUM, else the first of the usual names on PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def node_version() -> tuple[int, int] | None:
    """Node's version, None where there is no Node."""
    if shutil.which("node") is None:
        return None
    text = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def missing_debian_packages() -> list[str]:
    """The Debian packages that would provide what is not there."""
    programs = {"chromium": chromium(), "nodejs": shutil.which("node"), "npm": shutil.which("npm")}
    return [package for package, path in programs.items() if path is None]


def manifest_digest() -> str:
    """One digest of the files that say what npm installs."""
    digest = hashlib.sha256()
    for name in MANIFEST:
        digest.update((HERE / name).read_bytes())
    return digest.hexdigest()


def install_modules() -> bool:
    """Install the npm packages unless they are there already; whether they are now."""
    stamp = MODULES / ".wormkey-manifest"
    if stamp.is_file() and stamp.read_text() == manifest_digest():
        return True
    print(f"installing npm packages into {MODULES} ...", flush=True)
    WORKSHOP.mkdir(parents=True, exist_ok=True)
    for name in MANIFEST:
        shutil.copy(HERE / name, WORKSHOP / name)
    command = ["npm", "install", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=WORKSHOP, timeout=INSTALL_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return False
    if done.returncode == 0:
        stamp.write_text(manifest_digest())
    return done.returncode == 0


def main() -> int:
    """Check, install, and say what is missing; the exit status for make."""
    if missing := missing_debian_packages():
        print(f"missing Debian packages: {' '.join(missing)}", file=sys.stderr)
        print(f"remedy: apt-get install {' '.join(missing)}", file=sys.stderr)
        return 1
    if (version := node_version()) is None or version < LEAST_NODE:
        have = "unknown" if version is None else ".".join(map(str, version))
        need = ".".join(map(str, LEAST_NODE))
        print(
            f"Node {need} or newer is needed, this is {have}: install a newer nodejs",
            file=sys.stderr,
        )
        return 1
    if not install_modules():
        names = re.findall(
            r'^    "([^"]+)": "\^', (HERE / "package.json").read_text(), re.MULTILINE
        )
        print(
            f"missing npm packages: {' '.join(names)} (npm's error stands above)", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

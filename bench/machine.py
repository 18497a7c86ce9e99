"""In a few words, what a figure was taken on."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Final

# Another build of the same Python for our programs, such as /usr/bin/python3 of Debian.
PYTHON: Final = os.environ.get("BENCH_PYTHON", sys.executable)


def describe_machine() -> str:
    """Processor, cores, memory, kernel and Python."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    code = "import platform; print(platform.python_version())"
    asked = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True)
    python = asked.stdout.strip() + (f" of {PYTHON}" if sys.executable != PYTHON else "")
    kernel = platform.release().split("-")[0]
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, Linux {kernel}, Python {python}"

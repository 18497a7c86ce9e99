"""Fuzzes one target with atheris, or all of them in turn: `make fuzz SECONDS=3600`.

Each target is a process of its own, with its corpus; inputs that reach new code are kept in
`.work/fuzz`, and one that breaks a promise is printed by libFuzzer and kept there, too.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAX_INPUT_BYTES = 4096


def fuzz(target: str, arguments: list[str]) -> None:
    """Fuzz one target in this process; never returns."""
    import atheris  # noqa: PLC0415 - a tool of its own, which few machines have

    with atheris.instrument_imports(include=["wormkey"]):
        from fuzz.targets import TARGETS  # noqa: PLC0415 - instrumented as it is imported

    atheris.Setup([sys.argv[0], *arguments], TARGETS[target])
    atheris.Fuzz()


def main() -> int:
    """`TARGET …` fuzzes one; `--seconds N` all of them, in turn; non-zero where one broke."""
    if sys.argv[1] != "--seconds":
        fuzz(sys.argv[1], sys.argv[2:])
        return 0
    targets = sorted(path.name for path in (ROOT / "fuzz" / "corpus").iterdir())
    each_s = max(1, int(sys.argv[2]) // len(targets))
    status = 0
    for target in targets:
        kept = ROOT / ".work" / "fuzz" / target
        kept.mkdir(parents=True, exist_ok=True)
        limits = (f"-max_total_time={each_s}", f"-max_len={MAX_INPUT_BYTES}", "-timeout=10")
        folders = (str(kept), str(ROOT / "fuzz" / "corpus" / target))
        command = (sys.executable, "-m", "fuzz.run", target, *limits, f"-artifact_prefix={kept}/")
        done = subprocess.run((*command, *folders), cwd=ROOT, capture_output=True, check=False)
        told = (done.stdout + done.stderr).decode("utf-8", "replace")
        runs = re.search(r"Done (\d+) runs in (\d+) second", told)
        covered = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", told)
        if done.returncode or not runs:
            status = 1
            print(f"{target}: BROKEN\n{told[-4000:]}")
            continue
        edges, features, inputs = covered[-1] if covered else ("?", "?", "?")
        rate = f"{runs[1]} runs in {runs[2]} s, {edges} edges, {features} features, {inputs} inputs"
        print(f"{target}: {rate}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())

"""A real Chromium, driven through driver.mjs by one JSON line for each command and answer."""

from __future__ import annotations

import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.browser.packages import MODULES, chromium

STEP_TIMEOUT_S = 20.0
_GRACE_S = 10.0  # for the driver to report a step that ran out of time
_DRIVER = Path(__file__).with_name("driver.mjs")


class Chromium:
    """One browser process, one page at a time; each opened page has a profile of its own."""

    def __init__(self, log: Path) -> None:
        """Start Node, which starts Chromium."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as stderr:
            self._process = subprocess.Popen(
                ["node", str(_DRIVER), str(MODULES), str(chromium())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        self._log = log
        self._answers: queue.Queue[bytes] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(b"")

    def close(self) -> None:
        """End the browser, then Node."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _do(self, action: str, *, timeout_s: float = STEP_TIMEOUT_S, **options: object) -> Any:
        command = {"action": action, "timeout_ms": int(timeout_s * 1000), **options}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        try:
            line = self._answers.get(timeout=timeout_s + _GRACE_S)
        except queue.Empty:
            raise AssertionError(f"the browser did not answer {command}") from None
        if not line:
            raise AssertionError(f"the driver ended: {self._log.read_text()}")
        answer = json.loads(line)
        if "error" in answer:
            report = json.dumps(answer.get("report"), indent=2)
            raise AssertionError(f"{action} {options}: {answer['error']}\nthe page: {report}")
        return answer["value"]

    def open(self, url: str, **options: object) -> dict[str, Any]:
        """Load a page in a new profile; its status and the URL it ended at."""
        opened: dict[str, Any] = self._do("open", url=url, timeout_s=60, **options)
        return opened

    def show(
        self, *, dark: bool = False, size: dict[str, int] | None = None, paper: bool = False
    ) -> None:
        """Show the same page on another screen, or as it is printed."""
        self._do("show", dark=dark, size=size, paper=paper)

    def reload(self) -> dict[str, Any]:
        """Load the page again, with its cookies."""
        reloaded: dict[str, Any] = self._do("reload")
        return reloaded

    def visit(self, url: str, name: str, *, stranger: bool = False) -> dict[str, Any]:
        """Load a page in one more tab called ``name``; a stranger's has a profile of its own."""
        loaded: dict[str, Any] = self._do(
            "visit", url=url, name=name, stranger=stranger, timeout_s=60
        )
        return loaded

    def leave(self, name: str) -> None:
        """Call the tab in front ``name``, to come back to it after others."""
        self._do("leave", name=name)

    def enter(self, name: str) -> None:
        """Come back to a tab."""
        self._do("enter", name=name)

    def frames(self) -> list[str]:
        """The URLs of the page and of the frames in it."""
        return list(self._do("frames"))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the mouse at one point of the window, release it at another."""
        self._do("drag", start=start, end=end)

    def press(self, key: str) -> None:
        """Press a key."""
        self._do("press", key=key)

    def evaluate(self, code: str, argument: object = None, *, frame: str = "") -> Any:
        """The result of a JavaScript function of one argument, run in the page.

        Here and below, ``frame`` is a part of the URL of a frame in the page, which is meant then.
        """
        return self._do("evaluate", code=code, argument=argument, frame=frame)

    def text(self, selector: str, *, frame: str = "") -> str:
        """The text of an element."""
        return str(self._do("text", selector=selector, frame=frame))

    def wait_for_text(
        self, selector: str, text: str, *, frame: str = "", timeout_ms: int = 0
    ) -> None:
        """Return when the element holds the text; 0 is the driver's own patience."""
        self._do("waitForText", selector=selector, text=text, frame=frame, timeout=timeout_ms)

    def wait_for(self, selector: str, *, frame: str = "") -> None:
        """Return when such an element is visible."""
        self._do("waitFor", selector=selector, frame=frame)

    def fill(self, selector: str, text: str, *, frame: str = "") -> None:
        """Type into a field, in the place of what it holds."""
        self._do("fill", selector=selector, text=text, frame=frame)

    def click(self, selector: str, *, frame: str = "") -> None:
        """Click an element, and wait for the navigation that it starts."""
        self._do("click", selector=selector, frame=frame)

    def choose(self, selector: str, path: Path) -> None:
        """Choose a file in a file field."""
        self._do("choose", selector=selector, path=str(path))

    def cookies(self) -> dict[str, dict[str, Any]]:
        """The profile's cookies by name."""
        return {cookie["name"]: cookie for cookie in self._do("cookies")}

    def screenshot(self, path: Path) -> None:
        """Save what the page looks like as a PNG."""
        self._do("screenshot", path=str(path))

    def report(self) -> dict[str, Any]:
        """What happened on the page: console, errors, failed requests, loads, its URL."""
        report: dict[str, Any] = self._do("report")
        return report

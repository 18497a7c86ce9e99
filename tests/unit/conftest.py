"""What tests of several modules share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.installing import Machine, private_machine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Machine]:
    """An empty machine that runs systemd."""
    with private_machine(tmp_path, monkeypatch, capsys) as made:
        yield made

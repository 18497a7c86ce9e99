"""``python -m wormkey`` is ``wormkey``."""

from __future__ import annotations

from wormkey.cli import main

main()

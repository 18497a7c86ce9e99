"""Wormkey, the self-hosted localhost tunnel: ``wormkeyd`` serves, ``wormkey expose`` shares.

Read ``nursery.py`` first: its docstring is the daemon's task tree. ``wire.py`` is what the two
programs agree on; ``gateway.py`` and ``origin.py`` mirror each other at a tunnel's two ends.
"""

__version__ = "0.1.0"

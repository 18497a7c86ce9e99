"""A wish for a session with some members changed, and the error that one meets."""

from __future__ import annotations

from typing import Any

import pytest

from wormkey.errors import AdmissionError
from wormkey.wishes import NewSession

DAY_S = 86400


def wish(**members: Any) -> NewSession:
    """Read a wish for port 5173 with these members."""
    return NewSession.from_json({"port": 5173, **members}, max_age_s=30 * DAY_S)


def refusal(**members: Any) -> AdmissionError:
    """Return the error that such a wish meets."""
    with pytest.raises(AdmissionError) as caught:
        wish(**members)
    return caught.value

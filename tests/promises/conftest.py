"""The promises' fixture: a test in test_p07_….py keeps promise 7."""

from __future__ import annotations

import re

import pytest

from tests.support.promise import Promise


@pytest.fixture
def promise(request: pytest.FixtureRequest) -> Promise:
    """The promise that this file is named after."""
    found = re.match(r"test_p(\d\d)_", request.path.name)
    assert found, request.path
    return Promise(int(found[1]))

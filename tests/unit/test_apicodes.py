"""apicodes.py: beside the gateway's codes, and all of the tunnel's."""

from __future__ import annotations

from wormkey.apicodes import ALL_CODES, API_ERRORS, TUNNEL_CODES
from wormkey.codes import ERRORS
from wormkey.errors import ErrorCode


def test_no_code_has_two_meanings() -> None:
    """The three tables are apart, so that one name leads to one entry."""
    assert len(ALL_CODES) == len(ERRORS) + len(API_ERRORS) + len(TUNNEL_CODES)


def test_every_code_of_the_tunnel_is_explained() -> None:
    """Each ErrorCode has an entry: its own, or the gateway's of the same name."""
    names = {code.name.lower() for code in ErrorCode}
    assert names <= set(ALL_CODES)
    assert set(TUNNEL_CODES) == names - set(ERRORS)


def test_the_api_refuses_with_an_error_status() -> None:
    """An entry of the API has the status of a refusal; one of the tunnel may have none."""
    assert all(400 <= page.status < 600 for page in API_ERRORS.values())
    assert all(page.status in {0, 429, 502, 503} for page in TUNNEL_CODES.values())

"""The bar's files: a tag for each content, and a frame that holds itself to little."""

from __future__ import annotations

import base64
import hashlib

import pytest

from wormkey.barfiles import FILES, asset, bar_fields


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_a_strong_tag_of_its_own(name: str) -> None:
    """So that a browser that has it asks for it in vain."""
    found = asset(name)
    assert found.content
    assert found.etag.startswith(b'"')
    assert (b"ETag", found.etag) in found.fields
    assert sum(asset(other).etag == found.etag for other in FILES) == 1


def test_another_file_is_not_there() -> None:
    """The table is the whole of it."""
    with pytest.raises(KeyError):
        asset("page.html")


def test_the_frame_runs_its_own_files_alone() -> None:
    """No inline script, no form, no base, and framed by whom it names."""
    fields = dict(bar_fields((b"https://a.example", b"'self'")))
    policy = fields[b"Content-Security-Policy"].decode().split("; ")
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "form-action 'none'" in policy
    assert policy[-1] == "frame-ancestors https://a.example 'self'"


@pytest.mark.parametrize("name", FILES)
def test_a_files_digest_is_what_a_browser_computes(name: str) -> None:
    """For pages that load no script without one; they read the file across origins, too."""
    found = asset(name)
    kind, _, digest = found.integrity.partition(b"-")
    assert kind == b"sha256"
    assert base64.b64decode(digest, validate=True) == hashlib.sha256(found.content).digest()
    assert (b"Access-Control-Allow-Origin", b"*") in found.fields

"""errors.py: what a catcher may rely on."""

from __future__ import annotations

import pytest

from wormkey import errors
from wormkey.errors import (
    AdmissionError,
    ErrorCode,
    LocalProtocolError,
    OriginError,
    ProtocolError,
    RemoteProtocolError,
    StreamError,
    TunnelError,
    WormkeyError,
)


def test_every_error_has_the_one_root() -> None:
    """Whoever catches WormkeyError catches everything that is raised on purpose."""
    kinds = [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, BaseException)
    ]
    assert len(kinds) > 8
    assert all(issubclass(kind, WormkeyError) for kind in kinds)
    assert all(kind.__doc__ for kind in kinds)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_known_code_keeps_its_name(code: ErrorCode) -> None:
    """A code that this version knows is read as itself."""
    assert ErrorCode.of(int(code)) is code


@pytest.mark.parametrize("value", [max(ErrorCode) + 1, 0xFFFFFFFF])
def test_an_unknown_code_is_an_internal_error(value: int) -> None:
    """A newer end's code is no reason to fail."""
    assert ErrorCode.of(value) is ErrorCode.INTERNAL_ERROR


@pytest.mark.parametrize("kind", [LocalProtocolError, RemoteProtocolError])
def test_a_protocol_error_carries_its_wire_code(kind: type[ProtocolError]) -> None:
    """The code that tells the peer travels with the sentence that tells the operator."""
    assert kind("a rule").code is ErrorCode.PROTOCOL_ERROR
    error = kind("a length", ErrorCode.FRAME_SIZE_ERROR)
    assert (str(error), error.code) == ("a length", ErrorCode.FRAME_SIZE_ERROR)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_only_a_refused_stream_may_be_retried(code: ErrorCode) -> None:
    """REFUSED_STREAM alone promises that nothing was done with the request."""
    assert StreamError(code).retryable == (code.name == "REFUSED_STREAM")


def test_a_stream_error_reads_well_with_and_without_detail() -> None:
    """The peer's sentence stands behind the code's name, if there is one."""
    assert str(StreamError(ErrorCode.CANCELLED)) == "CANCELLED"
    error = StreamError(ErrorCode.ORIGIN_FAILED, "closed early")
    assert (str(error), error.detail) == ("ORIGIN_FAILED: closed early", "closed early")


def test_a_tunnel_error_says_whether_to_try_again() -> None:
    """A lost tunnel is worth another try, a refused one only where the caller says so."""
    lost = TunnelError("the connection broke")
    assert (lost.retryable, lost.status, lost.retry_after_s) == (True, None, None)
    refused = TunnelError("a wrong token", retryable=False, status=401)
    assert (str(refused), refused.retryable, refused.status) == ("a wrong token", False, 401)
    busy = TunnelError("draining", status=503, retry_after_s=2.5)
    assert (busy.retryable, busy.retry_after_s) == (True, 2.5)


def test_an_admission_error_is_an_answer() -> None:
    """Status, code and fields of the gateway's own answer travel with the error."""
    error = AdmissionError(429, "too_many_streams", "busy", fields=((b"Retry-After", b"1"),))
    assert (error.status, error.code, str(error)) == (429, "too_many_streams", "busy")
    assert error.fields == ((b"Retry-After", b"1"),)
    assert AdmissionError(404, "not_found", "nothing here").fields == ()


def test_an_origin_error_carries_the_code_of_its_reset() -> None:
    """What the RESET will say is on the error."""
    error = OriginError(ErrorCode.ORIGIN_TIMEOUT, "no answer")
    assert (error.code, str(error)) == (ErrorCode.ORIGIN_TIMEOUT, "no answer")

"""One tree of errors: what went wrong, whose fault it is, what it is called on the wire.

Every error carries what its catcher must decide with (a wire code, an HTTP status, whether a
retry helps), so nobody parses messages. Policy outcomes are values, not exceptions. Nothing
but the standard library may be imported here: this is the lowest floor of the house.
"""

from __future__ import annotations

import enum


class ErrorCode(enum.IntEnum):
    """Codes of RESET and GOAWAY frames (docs/protocol.md §6). Unknown codes mean INTERNAL_ERROR."""

    NO_ERROR = 0x00
    PROTOCOL_ERROR = 0x01
    INTERNAL_ERROR = 0x02
    FLOW_CONTROL_ERROR = 0x03
    FRAME_SIZE_ERROR = 0x04
    STREAM_CLOSED = 0x05
    REFUSED_STREAM = 0x06
    CANCELLED = 0x07
    ENHANCE_YOUR_CALM = 0x08
    ORIGIN_UNREACHABLE = 0x09
    ORIGIN_FAILED = 0x0A
    ORIGIN_TIMEOUT = 0x0B
    SESSION_CLOSED = 0x0C
    REPLACED = 0x0D

    @classmethod
    def of(cls, value: int) -> ErrorCode:
        """Return the code with this number; INTERNAL_ERROR for a number that a newer end sent."""
        try:
            return cls(value)
        except ValueError:
            return cls.INTERNAL_ERROR


class WormkeyError(Exception):
    """The root: catch it to catch everything this project raises on purpose."""


class ConfigError(WormkeyError):
    """A configuration that cannot be used; the message is one sentence for the operator."""


class ProtocolError(WormkeyError):
    """A tunnel protocol rule was broken. Abstract: catch it, raise one of its children."""

    def __init__(self, message: str, code: ErrorCode = ErrorCode.PROTOCOL_ERROR) -> None:
        """Keep the sentence and the wire code that tells the peer."""
        super().__init__(message)
        self.code = code


class LocalProtocolError(ProtocolError):
    """This end asked for something the protocol's state does not allow: our bug."""


class RemoteProtocolError(ProtocolError):
    """The peer sent something the protocol does not allow: their fault, their tunnel ends."""


class StreamError(WormkeyError):
    """One stream ended early: reset by the peer, or lost with its tunnel.

    ``retryable`` is true when the peer certainly did nothing with the request (RFC 9113 §8.7
    gives REFUSED_STREAM the same meaning).
    """

    def __init__(self, code: ErrorCode, detail: str = "") -> None:
        """Keep the wire code and the peer's sentence (untrusted text; escape it on a page)."""
        super().__init__(f"{code.name}: {detail}" if detail else code.name)
        self.code = code
        self.detail = detail

    @property
    def retryable(self) -> bool:
        """Whether the peer certainly did nothing with the request."""
        return self.code is ErrorCode.REFUSED_STREAM


class TunnelError(WormkeyError):
    """A tunnel could not be opened or was lost; ``retryable`` tells whether trying again helps."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Keep the HTTP status that refused the handshake, where there was one."""
        super().__init__(message)
        self.retryable = retryable
        self.status = status
        self.retry_after_s = retry_after_s


class AdmissionError(WormkeyError):
    """A request that the gateway answers itself, with this status and this error code."""

    def __init__(
        self, status: int, code: str, message: str, *, fields: tuple[tuple[bytes, bytes], ...] = ()
    ) -> None:
        """``code`` is the value of Wormkey-Error; ``fields`` go out with the answer."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.fields = fields


class OriginError(WormkeyError):
    """The local app could not be reached or broke HTTP; ``code`` is what the RESET says."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        """The message names the address and the remedy; it is shown to the viewer, escaped."""
        super().__init__(message)
        self.code = code


class StoreError(WormkeyError):
    """The store refused or could not do it; the message says what to do."""

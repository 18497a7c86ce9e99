"""Connects to the local app: one fixed target, by the address that answers, over TLS if asked.

A target on this machine may listen on 127.0.0.1 or on ::1 only; the address that answered last is
tried first. Nothing that a viewer sent ever chooses where a connection goes.
"""

from __future__ import annotations

import os
import ssl
from typing import Final

import trio
from attrs import define

from wormkey.errors import ErrorCode, OriginError
from wormkey.target import Target
from wormkey.transport import set_tcp_options

CONNECT_TIMEOUT_S: Final = 5.0  # an app on this machine answers in no time, one on the LAN soon


@define(eq=False)
class Dialer:
    """Opens connections to one target. ``verify_tls`` False accepts any certificate."""

    target: Target
    verify_tls: bool = True
    connect_timeout_s: float = CONNECT_TIMEOUT_S
    _winner: str | None = None
    _context: ssl.SSLContext | None = None

    async def dial(self) -> trio.abc.Stream:
        """Return a connected stream.

        Raises:
            OriginError: ORIGIN_UNREACHABLE; the sentence names every address tried and the remedy.

        Cancellation: no connection is left open.
        """
        reason = "no address"
        for address in self._addresses():
            try:
                with trio.fail_after(self.connect_timeout_s):
                    stream = await self._connect(address)
            except trio.TooSlowError:
                reason = "timed out"
            except (OSError, trio.BrokenResourceError) as error:
                if isinstance(error.__cause__, ssl.SSLError):  # as trio's SSLStream passes it on
                    # The app is here: that the other address refuses is not what to tell.
                    reason = _tls_reason(error.__cause__)
                    break
                reason = _reason(error)
            else:
                self._winner = address
                return stream
        raise OriginError(ErrorCode.ORIGIN_UNREACHABLE, self._sentence(reason))

    def _addresses(self) -> list[str]:
        if self.target.unix_path is not None:
            return [self.target.unix_path]
        addresses = list(self.target.addresses)
        return sorted(addresses, key=lambda address: address != self._winner)

    async def _connect(self, address: str) -> trio.abc.Stream:
        if self.target.unix_path is not None:
            return await trio.open_unix_socket(address)
        stream = await trio.open_tcp_stream(address, self.target.port)
        set_tcp_options(stream)
        if self.target.scheme != "https":
            return stream
        return await secure(stream, self._tls_context(), self.target.host or "localhost")

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = ssl.create_default_context()
            if not self.verify_tls:
                self._context.check_hostname = False
                self._context.verify_mode = ssl.CERT_NONE
        return self._context

    def _sentence(self, reason: str) -> str:
        name = self.target.authority.decode() if self.target.unix_path is None else "the app"
        return (
            f"Nothing answers on {name}: tried {self.target.tried} ({reason}). Start the app there."
        )


async def secure(
    stream: trio.SocketStream, context: ssl.SSLContext, host: str
) -> trio.SSLStream[trio.SocketStream]:
    """Return ``stream`` as a TLS client's, the handshake done; it is closed if that fails.

    Raises:
        ssl.SSLError: the certificate, or the protocol.
        trio.BrokenResourceError: the peer has gone, or trio's wrapping of an SSLError.

    Cancellation: the stream is closed.
    """
    secured = trio.SSLStream(stream, context, server_hostname=host, https_compatible=True)
    try:
        await secured.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secured


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno).lower()  # trio puts the address into error.strerror
    causes = getattr(error, "exceptions", None) or ([error.__cause__] if error.__cause__ else [])
    return _reason(causes[0]) if causes else "connection failed"


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}; --insecure accepts it"
    return f"TLS failed: {error.reason}"

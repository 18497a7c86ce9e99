"""Where a slug leads: the interface between the gateway and whatever carries its requests.

A route's far end is an Upstream: a tunnel of this process today, another node some day; the
gateway does not know which. Viewers are answered from here and never wait for the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from wormkey.errors import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import trio

    from wormkey.errors import TunnelError
    from wormkey.frames import Data, Fields, RequestHead, Response, Trailers


class UpstreamStream(Protocol):
    """One exchange on its way to the origin. One task receives, one sends."""

    @property
    def ended(self) -> bool:
        """Whether the origin's half is over."""
        ...

    @property
    def ready(self) -> bool:
        """Whether receive() would return at once."""
        ...

    async def receive(self) -> Response | Data | Trailers:
        """Return the next frame of the answer.

        Raises:
            StreamError: the stream was reset.
            TunnelError: the upstream was lost.
        """
        ...

    def release(self, count: int) -> None:
        """Say that the viewer has taken ``count`` bytes of content."""
        ...

    async def send(self, data: bytes, *, end_stream: bool = False) -> None:
        """Send content of the request, waiting while too much of it is queued."""
        ...

    def send_trailers(self, fields: Fields) -> None:
        """End the request with a trailer section; never waits."""
        ...

    def close(self, code: ErrorCode = ErrorCode.CANCELLED, detail: str = "") -> None:
        """Be done with the stream; one that is not finished is reset with ``code``."""
        ...


class Upstream(Protocol):
    """What a live session leads to."""

    @property
    def version(self) -> int:
        """The tunnel protocol's version: 0 or 1."""
        ...

    @property
    def paused(self) -> bool:
        """Whether the client asked for no new requests."""
        ...

    @property
    def takes_streams(self) -> bool:
        """Whether it may carry something new; one that goes only ends what it has."""
        ...

    def start_work(self, work: Callable[[trio.CancelScope], Awaitable[None]]) -> None:
        """Let a child task do ``work``; it gets the scope that it runs in.

        Raises:
            TunnelError: the upstream is not running, or over.
        """
        ...

    def lost(self) -> TunnelError:
        """Return the reason why it ended, as an error."""
        ...

    def open_stream(self, head: RequestHead, *, end_stream: bool) -> UpstreamStream:
        """Open a stream with a request; never waits.

        Raises:
            StreamError: no more streams are taken now.
            TunnelError: it is over.
        """
        ...

    def close(self, code: ErrorCode, detail: str = "") -> None:
        """Begin to end it: its streams end, the peer learns ``code``. Returns at once."""
        ...

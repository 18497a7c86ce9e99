"""framereader.py: no message is lost, changed or overtaken, however the octets are cut."""

from __future__ import annotations

import pytest
from attrs import define, field
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType
from wsproto.events import BytesMessage, Ping, TextMessage

from wormkey.errors import RemoteProtocolError
from wormkey.framemeter import FREE_PIECES
from wormkey.framereader import FrameReader

HEAD = b"GET / HTTP/1.1\r\n\r\n"
MAX_BYTES = 66_000
KEY = b"\x01\x02\x03\x04"
FIRST, CONTINUATION, TEXT, PING = 0x02, 0x80, 0x81, 0x89  # FIN but for the first, and opcodes


def frame(payload: bytes, *, masked: bool, first: int = 0x82) -> bytes:
    """Frame a payload (RFC 6455 section 5.2); ``first`` has FIN and the opcode."""
    size, bit = len(payload), 0x80 if masked else 0
    if size < 126:
        head = bytes((first, bit | size))
    elif size < 1 << 16:
        head = bytes((first, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, bit | 127)) + size.to_bytes(8, "big")
    if not masked:
        return head + payload
    return head + KEY + bytes(each ^ KEY[at % 4] for at, each in enumerate(payload))


@define
class Tunnel:
    """What a tunnel gets, by the reader and from a library that it takes from later."""

    masked: bool
    reader: FrameReader = field(init=False)
    library: Connection = field(init=False)
    had: list[str | bytes] = field(factory=list)
    queued: list[str | bytes] = field(factory=list)
    direct: int = 0
    _parts: list[str | bytes] = field(factory=list)

    def __attrs_post_init__(self) -> None:
        self.reader = FrameReader(masked=self.masked, max_bytes=MAX_BYTES)
        role = ConnectionType.SERVER if self.masked else ConnectionType.CLIENT
        self.library = Connection(role)
        assert self.reader.feed(HEAD) == ([], HEAD, 0)
        self.reader.opened = True

    def feed(self, data: bytes) -> None:
        """Feed a piece; what is left goes to the library, which queues messages."""
        messages, rest, _ = self.reader.feed(data)
        self.had += messages
        self.direct += len(messages)
        if rest:
            self.library.receive_data(rest)
        for event in self.library.events():
            if isinstance(event, (BytesMessage, TextMessage)):
                self._parts.append(event.data)
                if event.message_finished:
                    empty = "" if isinstance(event, TextMessage) else b""
                    self.queued.append(empty.join(self._parts))  # type: ignore[arg-type]
                    self._parts.clear()
            else:
                assert isinstance(event, Ping)

    def take(self) -> None:
        """Take what the library has queued, as the tunnel's task does when it gets its turn."""
        for message in self.queued:
            self.had.append(message)
            self.reader.taken += 1
        self.queued.clear()


SIZES = st.sampled_from([0, 1, 5, 125, 126, 127, 300, 65_535, 65_536, MAX_BYTES, MAX_BYTES + 1])
KINDS = st.sampled_from(["whole", "whole", "whole", "whole", "fragments", "ping", "text"])


@given(
    st.booleans(),
    st.lists(st.tuples(KINDS, SIZES), max_size=8),
    st.lists(st.tuples(st.integers(1, 70_000) | st.integers(1, 12), st.booleans()), max_size=30),
)
def test_messages_keep_their_order(
    masked: bool, parts: list[tuple[str, int]], cuts: list[tuple[int, bool]]
) -> None:
    """Whole ones, fragments, pings between, cut anywhere; the tunnel's task is late at times."""
    octets, expected = b"", []
    for number, (kind, size) in enumerate(parts):
        content = bytes((index + number) % 251 for index in range(size))
        if kind == "ping":
            octets += frame(content[:125], masked=masked, first=PING)
        elif kind == "text":
            octets += frame(b"%d" % number, masked=masked, first=TEXT)
            expected.append(str(number))
        elif kind == "whole":
            octets += frame(content, masked=masked)
            expected.append(content)
        else:
            half = size // 2
            octets += frame(content[:half], masked=masked, first=FIRST)
            octets += frame(b"between", masked=masked, first=PING)
            octets += frame(content[half:], masked=masked, first=CONTINUATION)
            expected.append(content)
    tunnel = Tunnel(masked)
    at = 0
    for size, takes in cuts:
        if piece := octets[at : at + size]:
            tunnel.feed(piece)
        at += size
        if takes:
            tunnel.take()
    if at < len(octets):
        tunnel.feed(octets[at:])
    tunnel.take()
    assert tunnel.had == expected


def test_whole_messages_never_meet_the_library() -> None:
    """Each as one frame, cut or not: that is what this reader is for."""
    tunnel = Tunnel(masked=True)
    octets = b"".join(frame(bytes(size), masked=True) for size in (0, 9, 125, 126, 65_535, 65_536))
    for at in range(0, len(octets), 1000):
        tunnel.feed(octets[at : at + 1000])
    assert (tunnel.direct, len(tunnel.had)) == (6, 6)


def test_it_comes_back_when_the_library_has_nothing_left() -> None:
    """After a ping, and after the tunnel has taken a message that came in fragments."""
    tunnel = Tunnel(masked=False)
    tunnel.feed(frame(b"", masked=False, first=PING) + frame(b"behind", masked=False))
    tunnel.feed(frame(b"still behind", masked=False))
    assert tunnel.direct == 0
    tunnel.take()
    tunnel.feed(frame(b"direct", masked=False))
    assert tunnel.direct == 1
    tunnel.feed(frame(b"one", masked=False, first=FIRST))
    tunnel.feed(frame(b"two", masked=False, first=CONTINUATION))
    tunnel.feed(frame(b"waits", masked=False))
    assert tunnel.direct == 1
    tunnel.take()
    tunnel.feed(frame(b"direct", masked=False))
    assert tunnel.had == [b"behind", b"still behind", b"direct", b"onetwo", b"waits", b"direct"]


def test_nothing_is_taken_before_there_is_a_tunnel() -> None:
    """The handshake, and what comes right behind it, are the library's."""
    reader = FrameReader(masked=False, max_bytes=MAX_BYTES)
    early = frame(b"early", masked=False)
    assert reader.feed(HEAD + early) == ([], HEAD + early, 0)
    reader.opened = True
    assert reader.feed(early) == ([], early, 0)  # behind one that is not taken yet
    reader.taken = 2
    assert reader.feed(early) == ([b"early"], b"", 0)


@pytest.mark.parametrize(
    "octets",
    [
        b"\x82\x05hello",  # unmasked, from a client
        b"\x82\xfe\x00\x7d" + KEY + bytes(125),  # RFC 6455 section 5.2: not the shortest length
        b"\x82\xff" + (65_535).to_bytes(8, "big") + KEY,
        b"\x82\xff" + (MAX_BYTES + 1).to_bytes(8, "big") + KEY,
        b"\x82\xff" + (1 << 63).to_bytes(8, "big") + KEY,
        b"\xc2\x81" + KEY + b"x",  # RSV1
        b"\x83\x81" + KEY + b"x",  # an opcode that is not defined
        b"\x81\x81" + KEY + b"x",
        b"\x88\x80" + KEY,
    ],
)
def test_what_breaks_a_rule_is_the_librarys_to_refuse(octets: bytes) -> None:
    """Octet for octet, also where the header came in two pieces."""
    for cut in (0, 1, 3):
        reader = FrameReader(masked=True, max_bytes=MAX_BYTES)
        reader.feed(HEAD)
        reader.opened = True
        rest = b""
        for piece in (octets[:cut], octets[cut:]):
            messages, left, _ = reader.feed(piece)
            rest += left
            assert messages == []
        assert rest == octets


def _feed_each(reader: FrameReader, octets: bytes) -> None:
    for at in range(len(octets)):
        reader.feed(octets[at : at + 1])


def test_a_whole_message_in_crumbs_is_refused() -> None:
    """As one in fragments: each read costs a turn of the loop."""
    reader = FrameReader(masked=False, max_bytes=MAX_BYTES)
    reader.feed(HEAD)
    reader.opened = True
    octets = frame(bytes(60_000), masked=False)
    for at in range(FREE_PIECES):
        reader.feed(octets[at : at + 1])
    with pytest.raises(RemoteProtocolError, match="small pieces"):
        _feed_each(reader, octets[FREE_PIECES : FREE_PIECES + 20])
    reader = FrameReader(masked=False, max_bytes=MAX_BYTES)
    reader.feed(HEAD)
    reader.opened = True
    taken = [reader.feed(octets[at : at + 536])[0] for at in range(0, len(octets), 536)]
    assert taken[-1] == [bytes(60_000)]


def test_nothing_is_taken_behind_a_close() -> None:
    """RFC 6455 section 5.5.1: what follows a Close frame is no message."""
    tunnel = Tunnel(masked=False)
    tunnel.reader.feed(frame(b"\x03\xe8", masked=False, first=0x88))
    late = frame(b"late", masked=False)
    assert tunnel.reader.feed(late) == ([], late, 0)


def test_crumbs_are_counted_all_the_same() -> None:
    """The meter stands behind this reader."""
    reader = FrameReader(masked=False, max_bytes=MAX_BYTES)
    reader.feed(HEAD)
    reader.opened = True
    for _ in range(FREE_PIECES):
        reader.feed(b"\x02\x00")
    with pytest.raises(RemoteProtocolError, match="small pieces"):
        reader.feed(b"\x02\x00")

"""Listening sockets, for real: every form of address, and one line when it cannot be had."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest
import trio

from wormkey import listeners as listeners_module
from wormkey.errors import ConfigError
from wormkey.listeners import (
    bound_port,
    listener_url,
    open_listeners,
    open_private_socket,
    short_path,
)
from wormkey.values import FdAddress, TcpAddress, UnixAddress, parse_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from wormkey.values import Address

TIMEOUT_S = 10


@asynccontextmanager
async def listening(address: Address) -> AsyncIterator[list[trio.SocketListener]]:
    """Open listeners and close them."""
    with trio.fail_after(TIMEOUT_S):
        listeners = await open_listeners(address)
        try:
            yield listeners
        finally:
            for listener in listeners:
                await listener.aclose()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


async def reaches(family: int, host: str, port: int) -> bool:
    """Tell whether somebody accepts there."""
    with trio.socket.socket(family) as sock:
        try:
            await sock.connect((host, port))
        except OSError:
            return False
        return True


async def test_every_interface_has_both_families_on_one_port() -> None:
    """``:0`` picks a port that IPv4 and IPv6 share, each with a socket of its own."""
    async with listening(TcpAddress(None, 0)) as listeners:
        port = bound_port(listeners)
        assert port
        assert {listener.socket.getsockname()[1] for listener in listeners} == {port}
        assert await reaches(socket.AF_INET, "127.0.0.1", port)
        if socket.has_ipv6 and len(listeners) == 2:
            assert await reaches(socket.AF_INET6, "::1", port)
        assert listener_url(listeners, "http") == f"http://localhost:{port}"
        named = listener_url(listeners, "http", wildcard="tunnel.example")
        assert named == f"http://tunnel.example:{port}"


async def test_several_addresses_are_this_machine_by_name() -> None:
    """``localhost`` is two addresses where there is IPv6, and no wildcard."""
    async with listening(parse_address("localhost:0")) as listeners:
        url = listener_url(listeners, "http", wildcard="tunnel.example")
        names = ("localhost", "127.0.0.1", "[::1]")
        assert url in [f"http://{name}:{bound_port(listeners)}" for name in names]


async def test_a_host_is_bound_alone() -> None:
    """``127.0.0.1:0`` is not reachable by another address of the machine."""
    async with listening(parse_address("127.0.0.1:0")) as listeners:
        (listener,) = listeners
        port = bound_port(listeners)
        assert listener.socket.getsockname() == ("127.0.0.1", port)
        assert listener_url(listeners, "http") == f"http://127.0.0.1:{port}"


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
async def test_ipv6_is_written_in_brackets() -> None:
    """URLs of IPv6 listeners can be used as they are."""
    async with listening(parse_address("[::1]:0")) as listeners:
        assert listener_url(listeners, "ws") == f"ws://[::1]:{bound_port(listeners)}"


async def test_a_port_in_use_is_named() -> None:
    """The error says which address, and leaves no socket behind."""
    async with listening(parse_address("127.0.0.1:0")) as listeners:
        address = parse_address(f"127.0.0.1:{bound_port(listeners)}")
        with pytest.raises(OSError, match=f"{address} is in use by another program") as caught:
            await open_listeners(address)
        assert caught.value.errno == errno.EADDRINUSE


async def test_a_port_in_use_in_one_family_is_in_use() -> None:
    """``:port`` means both families or nothing."""
    async with listening(parse_address("127.0.0.1:0")) as listeners:
        port = bound_port(listeners)
        with pytest.raises(OSError, match=f":{port} is in use"):
            await open_listeners(parse_address(f":{port}"))


async def test_a_free_port_of_one_family_that_is_taken_in_the_other_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Port 0 never fails for a coincidence."""
    really_open = listeners_module._open_tcp
    refused: list[int] = []

    def unlucky(family: int, host: str, port: int, backlog: int) -> socket.socket:
        if port and not refused:
            refused.append(port)
            raise OSError(errno.EADDRINUSE, "taken")
        return really_open(family, host, port, backlog)

    monkeypatch.setattr(listeners_module, "_open_tcp", unlucky)
    async with listening(TcpAddress(None, 0)) as listeners:
        assert bound_port(listeners)


async def test_a_machine_with_one_family_listens_in_that(monkeypatch: pytest.MonkeyPatch) -> None:
    """No IPv6 in the kernel is no reason not to start; no family at all is."""
    really_open = listeners_module._open_tcp

    def without_ipv6(family: int, host: str, port: int, backlog: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, "no IPv6")
        return really_open(family, host, port, backlog)

    monkeypatch.setattr(listeners_module, "_open_tcp", without_ipv6)
    async with listening(TcpAddress(None, 0)) as listeners:
        assert [listener.socket.family for listener in listeners] == [socket.AF_INET]
    with pytest.raises(OSError, match=r"cannot listen at \[::1\]:0: no IPv6"):
        await open_listeners(parse_address("[::1]:0"))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("192.0.2.1:0", "it is no address of this machine"),
        ("name.invalid:0", "cannot listen at name.invalid:0: "),
    ],
)
async def test_an_address_of_somebody_else_is_refused(text: str, sentence: str) -> None:
    """TEST-NET-1 (RFC 5737) and .invalid (RFC 6761) belong to nobody."""
    with trio.fail_after(TIMEOUT_S), pytest.raises(OSError, match=sentence) as caught:
        await open_listeners(parse_address(text))
    assert text in str(caught.value)


async def test_a_restart_takes_the_port_that_has_connections_in_time_wait() -> None:
    """SO_REUSEADDR: the daemon that closed first can bind again at once."""
    port = free_port()
    for _ in range(2):
        async with (
            listening(TcpAddress("127.0.0.1", port)) as (listener,),
            await trio.open_tcp_stream("127.0.0.1", port),
        ):
            await (await listener.accept()).aclose()


async def test_a_unix_socket_is_for_owner_and_group(tmp_path: Path) -> None:
    """Mode 0660, whatever the umask is."""
    path = str(tmp_path / "s")
    earlier = os.umask(0o077)
    try:
        async with listening(UnixAddress(path)) as listeners:
            assert stat.S_IMODE((await trio.Path(path).stat()).st_mode) == 0o660
            assert listener_url(listeners, "http") == f"unix:{path}"
            assert bound_port(listeners) is None
            async with await trio.open_unix_socket(path):
                await (await listeners[0].accept()).aclose()
    finally:
        os.umask(earlier)


async def test_a_unix_socket_left_by_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    """A kill -9 leaves the file; nobody answers there."""
    address = UnixAddress(str(tmp_path / "s"))
    async with listening(address):
        pass
    assert await trio.Path(address.path).is_socket()
    async with listening(address) as (listener,), await trio.open_unix_socket(address.path):
        await (await listener.accept()).aclose()


async def test_a_unix_socket_in_use_stays(tmp_path: Path) -> None:
    """A living daemon keeps its socket, even with a full queue."""
    address = UnixAddress(str(tmp_path / "s"))
    async with listening(address):
        with pytest.raises(OSError, match=f"{address} is in use by another program"):
            await open_listeners(address)
        async with await trio.open_unix_socket(address.path):
            pass


async def test_a_file_that_is_no_socket_stays(tmp_path: Path) -> None:
    """A mistyped path costs nobody a file."""
    path = tmp_path / "s"
    path.write_text("precious")
    with pytest.raises(OSError, match="there is a file that is no socket"):
        await open_listeners(UnixAddress(str(path)))
    assert path.read_text() == "precious"


async def test_a_unix_socket_needs_its_folder(tmp_path: Path) -> None:
    """The sentence names the address."""
    address = UnixAddress(str(tmp_path / "no" / "s"))
    with pytest.raises(OSError, match=f"cannot listen at {address}: No such file"):
        await open_listeners(address)


async def test_a_private_socket_is_for_its_user_alone(tmp_path: Path) -> None:
    """Mode 0600; what a dead process left is replaced, a living one keeps it."""
    path = tmp_path / "s"
    for _ in range(2):
        listener = open_private_socket(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with pytest.raises(OSError, match="in use by another program"):
            open_private_socket(path)
        await listener.aclose()


async def test_a_socket_of_any_path_can_be_had_where_there_is_proc(tmp_path: Path) -> None:
    """107 bytes are the system's limit for a name; a deep state folder works all the same."""
    path = tmp_path.joinpath(*["a-rather-long-name-of-a-folder"] * 8) / "s"
    path.parent.mkdir(parents=True)
    assert len(os.fsencode(path)) > 250
    listener = open_private_socket(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with short_path(path) as name:
        async with await trio.open_unix_socket(name):
            await (await listener.accept()).aclose()
    await listener.aclose()
    await open_private_socket(path).aclose()  # stale, at a long path


def test_a_path_that_is_too_long_elsewhere_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A system without /proc: one sentence with the remedy."""
    monkeypatch.setattr(listeners_module, "_OPEN_FOLDERS", tmp_path / "no-proc")
    path = tmp_path / ("x" * 120)
    with pytest.raises(OSError, match=r"over 107 bytes.*choose a shorter folder"):
        open_private_socket(path)


async def test_an_inherited_socket_is_used_as_it_is() -> None:
    """fd:N accepts where the parent bound it, and is not passed on to children."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        fd = server.detach()
    os.set_inheritable(fd, True)
    async with listening(FdAddress((fd,))) as listeners:
        assert bound_port(listeners) == port
        assert not os.get_inheritable(fd)
        assert await reaches(socket.AF_INET, "127.0.0.1", port)


async def test_a_descriptor_that_does_not_listen_is_refused_and_left_open() -> None:
    """Not a socket, not listening, not open: a ConfigError with its number."""
    with closing(socket.socket()) as sock, tempfile.TemporaryFile() as file:
        for fd in (sock.fileno(), file.fileno()):
            with pytest.raises(ConfigError, match=f"fd:{fd} is no listening stream socket"):
                await open_listeners(FdAddress((fd,)))
            os.fstat(fd)
    with pytest.raises(ConfigError, match="Bad file descriptor"):
        await open_listeners(FdAddress((999_999,)))


async def test_a_second_descriptor_that_is_refused_gives_the_first_back() -> None:
    """All or none."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        with pytest.raises(ConfigError, match="Bad file descriptor"):
            await open_listeners(FdAddress((server.fileno(), 999_999)))
        os.fstat(server.fileno())

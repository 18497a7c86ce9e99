"""Listening sockets: from an Address to sockets that accept, or to one line about why not.

TCP for one host or for every interface, unix sockets, and sockets that were inherited (from
systemd or from a predecessor). What happens to a connection afterwards is transport.py's affair.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import stat
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import trio

from wormkey.errors import ConfigError
from wormkey.values import Address, FdAddress, TcpAddress, UnixAddress

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

BACKLOG: Final = 1024  # connections the kernel holds for us; Linux caps it at somaxconn, 4,096
_SAME_PORT_TRIES: Final = 16  # a free port of one family is rarely taken in the other
_RESOLVE_TIMEOUT_S: Final = 10.0
_UNIX_MODE: Final = 0o660  # owner and group: a proxy in front joins the group
_PRIVATE_MODE: Final = 0o600
_UNIX_PATH_MOST: Final = 107  # unix(7): sun_path has 108 bytes, the last of them NUL
_OPEN_FOLDERS: Final = Path("/proc/self/fd")
_ANY: Final = (
    (socket.AF_INET6, "::"),
    (socket.AF_INET, "0.0.0.0"),  # noqa: S104 - `:port` asks for every interface
)
# A machine without IPv6 (or without IPv4) says one of these; the other family is enough then.
_NO_SUCH_FAMILY: Final = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT})


async def open_listeners(address: Address, *, backlog: int = BACKLOG) -> list[trio.SocketListener]:
    """Return listeners that accept at ``address`` from now on.

    A host with several addresses, and ``:port``, give a listener for each; with port 0 all have
    the same port.

    Cancellation: atomic; nothing stays open.

    Raises:
        OSError: in use, not permitted, or not here; ``strerror`` is one line with the address.
        ConfigError: an inherited descriptor that is no listening stream socket.
    """
    sockets = await _open(address, backlog)
    return [trio.SocketListener(trio.socket.from_stdlib_socket(sock)) for sock in sockets]


async def _open(address: Address, backlog: int) -> list[socket.socket]:
    match address:
        case FdAddress(fds):
            return _inherited(fds)
        case UnixAddress(path):
            return [_open_unix(path, address, backlog)]
        case TcpAddress(host, port):
            places = _ANY if host is None else await _resolve(host, address)
            return _open_same_port(places, port, address, backlog)


def bound_port(listeners: Sequence[trio.SocketListener]) -> int | None:
    """Return the real TCP port, None where there is none."""
    for listener in listeners:
        if listener.socket.family in {socket.AF_INET, socket.AF_INET6}:
            return int(listener.socket.getsockname()[1])
    return None


def listener_url(
    listeners: Sequence[trio.SocketListener], scheme: str, *, wildcard: str = "localhost"
) -> str:
    """Return the URL that a program on this machine uses, such as ``http://127.0.0.1:3001``.

    A wildcard address is written as the host ``wildcard`` (IPv6 in brackets), several addresses
    as ``localhost``; a unix socket as ``unix:/path``.
    """
    names = [listener.socket.getsockname() for listener in listeners]
    if listeners[0].socket.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(names[0])}"
    host, port = names[0][:2]
    if host in dict(_ANY).values():
        host = wildcard
    elif len(names) > 1:
        host = "localhost"
    elif ":" in host:
        host = f"[{host}]"
    return f"{scheme}://{host}:{port}"


async def _resolve(host: str, address: Address) -> list[tuple[int, str]]:
    """Return the families and addresses of a host name, each once, in the resolver's order."""
    try:
        with trio.fail_after(_RESOLVE_TIMEOUT_S):
            found = await trio.socket.getaddrinfo(
                host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
    except socket.gaierror as error:
        raise OSError(
            errno.EADDRNOTAVAIL, f"cannot listen at {address}: {error.strerror}"
        ) from None
    except trio.TooSlowError:
        message = f"cannot listen at {address}: the name was not resolved in time"
        raise OSError(errno.ETIMEDOUT, message) from None
    return list(dict.fromkeys((family, str(name[0])) for family, _, _, _, name in found))


def _open_same_port(
    places: Sequence[tuple[int, str]], port: int, address: Address, backlog: int
) -> list[socket.socket]:
    for attempt in range(_SAME_PORT_TRIES):
        try:
            return _open_all(places, port, backlog)
        except OSError as error:
            last = attempt == _SAME_PORT_TRIES - 1
            if port != 0 or error.errno != errno.EADDRINUSE or last:
                raise _explained(error, address) from None
    raise AssertionError("the last attempt returns or raises")


def _open_all(places: Sequence[tuple[int, str]], port: int, backlog: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, host in places:
            try:
                sock = _open_tcp(family, host, port, backlog)
            except OSError as error:
                if error.errno not in _NO_SUCH_FAMILY:
                    raise
                missing = error
                continue
            sockets.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    if not sockets:
        raise missing or OSError(errno.EADDRNOTAVAIL, "no address")
    return sockets


def _open_tcp(family: int, host: str, port: int, backlog: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past TIME_WAIT, not past use
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((host, port))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def _explained(error: OSError, address: Address) -> OSError:
    """Return the error with a sentence for the operator as its ``strerror``."""
    number = error.errno or errno.EIO
    match number:
        case errno.EADDRINUSE:
            reason = f"{address} is in use by another program"
        case errno.EACCES | errno.EPERM:
            reason = f"no permission to listen at {address}"
        case errno.EADDRNOTAVAIL:
            reason = f"cannot listen at {address}: it is no address of this machine"
        case _:
            reason = f"cannot listen at {address}: {error.strerror}"
    return OSError(number, reason)


def open_private_socket(path: Path) -> trio.SocketListener:
    """Return a listener at a unix socket that only its user (and root) can connect to.

    What a dead process left there is replaced.

    Raises:
        OSError: a living process is there, or the folder does not allow it; ``strerror`` is one
            line with the path.
    """
    address = UnixAddress(str(path))
    with short_path(path) as name:
        sock = _open_unix(name, address, BACKLOG, _PRIVATE_MODE)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


@contextmanager
def inner_socket() -> Iterator[
    tuple[trio.SocketListener, Callable[[], Awaitable[trio.SocketStream]]]
]:
    """Give a listener for this process alone, and how to connect to it.

    Linux knows names that are no files, so nothing is left behind by a killed process; others can
    connect there, and whoever listens must ask for proof. Elsewhere it is a file in a folder that
    only this user may enter.

    Raises:
        OSError: no socket can be made.
    """
    with ExitStack() as stack:
        if sys.platform == "linux":
            name = "\0wormkeyd-" + secrets.token_hex(16)
        else:
            folder = stack.enter_context(TemporaryDirectory(prefix="wormkeyd-"))
            name = str(Path(folder) / "api")
        sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        sock.setblocking(False)
        sock.bind(name)
        sock.listen(BACKLOG)

        async def dial() -> trio.SocketStream:
            stream = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                await stream.connect(name)
            except BaseException:
                stream.close()
                raise
            return trio.SocketStream(stream)

        yield trio.SocketListener(trio.socket.from_stdlib_socket(sock)), dial


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name of a unix socket that is short enough to bind or connect to, for the block.

    A path over 107 bytes goes through the open folder in /proc, where there is one.

    Raises:
        OSError: the path is too long here, or its folder cannot be opened.
    """
    if len(os.fsencode(path)) <= _UNIX_PATH_MOST:
        yield str(path)
        return
    if not _OPEN_FOLDERS.is_dir():
        reason = f"{path} is over {_UNIX_PATH_MOST} bytes, the most that a socket's path may have"
        raise OSError(errno.ENAMETOOLONG, f"{reason} on this system; choose a shorter folder")
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield str(_OPEN_FOLDERS / str(folder) / path.name)
    finally:
        os.close(folder)


def _open_unix(path: str, address: Address, backlog: int, mode: int = _UNIX_MODE) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(path)
        # Before listen(), when nobody can connect yet: no moment with a wider mode.
        Path(path).chmod(mode)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise _explained(error, address) from None
    return sock


def _remove_stale(path: str) -> None:
    """Remove the socket that a dead process left; one that is answered, or no socket, stays."""
    try:
        mode = Path(path).lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
        except BlockingIOError:
            pass  # a full queue has a listener behind it
    raise OSError(errno.EADDRINUSE, "in use")


def _inherited(fds: tuple[int, ...]) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    try:
        for fd in fds:
            sock = _adopt(fd)
            sockets.append(sock)
    except BaseException:
        for sock in sockets:
            sock.detach()
        raise
    return sockets


def _adopt(fd: int) -> socket.socket:
    try:
        sock = socket.socket(fileno=fd)
    except OSError as error:
        raise ConfigError(f"fd:{fd} is no listening stream socket: {error.strerror}") from None
    listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.type != socket.SOCK_STREAM or not listening:
        sock.detach()  # not ours to close
        raise ConfigError(f"fd:{fd} is no listening stream socket")
    sock.set_inheritable(False)
    return sock

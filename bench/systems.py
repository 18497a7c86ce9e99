"""What is compared: nginx as a plain proxy, `ssh -R`, and trees of this project.

Each leads to the same two origins: nginx (a small answer and a large file) and bench/app.py
(uploads, streams, messages). What this machine does not have is left out, with a line that says so.
"""

from __future__ import annotations

import getpass
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from bench.machine import PYTHON
from bench.processes import BenchError, Program, Programs, free_port, wait_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

FILE_MIB: Final = 256
LOADS: Final = frozenset({"requests", "bulk", "streams"})
ROOT: Final = Path(__file__).resolve().parent.parent
BIG_FOLDERS: Final = (Path("/dev/shm"), Path("/tmp"))  # noqa: S108 - the first that is there


@frozen
class Way:
    """How one origin is reached: connect to ``port``, say this Host."""

    port: int
    host: str


@frozen
class System:
    """One thing that carries requests to the origins."""

    name: str
    files: Way
    app: Way
    programs: tuple[Program, ...] = field(default=())  # those that carry, not the origins
    control: int = 0  # the control plane's port, of this project
    carries: frozenset[str] = LOADS


@frozen
class Origins:
    """The two origins, on free ports."""

    files: int
    app: int
    programs: tuple[Program, ...]


def find_program(name: str) -> str:
    """Where a program is; sbin is not on everybody's PATH.

    Raises:
        BenchError: it is not on this machine.
    """
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if path is None:
        raise BenchError(f"no {name} on this machine")
    return path


def _nginx(programs: Programs, name: str, servers: str) -> Program:
    folder = programs.folder / name.replace(" ", "-")
    folder.mkdir()
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    user = f"user {getpass.getuser()};" if os.geteuid() == 0 else ""
    config.write_text(
        f"daemon off; worker_processes 1; {user} pid {folder}/pid; error_log stderr warn;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;\n"
        f"client_max_body_size 0; {temporary} {servers} }}\n"
    )
    return programs.start(name, [find_program("nginx"), "-p", str(folder), "-c", str(config)])


def start_origins(programs: Programs) -> Origins:
    """Start nginx with a file of FILE_MIB and a small answer, and the app."""
    files, app = free_port(), free_port()
    big = next(folder for folder in BIG_FOLDERS if folder.is_dir()) / f"wormkey-bench-{os.getpid()}"
    with big.open("wb") as file:
        for _ in range(FILE_MIB):
            file.write(os.urandom(1024) * 1024)
    server = (
        f"server {{ listen 127.0.0.1:{files}; root {big.parent};\n"
        'location = /hello { default_type text/plain; return 200 "hello world\\n"; }\n'
        f"location = /big {{ alias {big}; }} }}"
    )
    origin = _nginx(programs, "origin nginx", server)
    echo = programs.start("origin app", [sys.executable, str(ROOT / "bench" / "app.py"), str(app)])
    wait_port(files, "nginx")
    wait_port(app, "the app")
    # nginx opens the file for each request; it goes with the last of them.
    return Origins(files, app, (origin, echo))


def remove_file() -> None:
    """Remove the large file."""
    for folder in BIG_FOLDERS:
        (folder / f"wormkey-bench-{os.getpid()}").unlink(missing_ok=True)


def direct(_programs: Programs, origins: Origins) -> System:
    """No way at all: what the origins and the load can do."""
    files, app = origins.files, origins.app
    return System("direct", Way(files, f"localhost:{files}"), Way(app, f"localhost:{app}"))


def start_nginx(programs: Programs, origins: Origins) -> System:
    """Start nginx as a plain proxy: the limit of this machine."""
    ways = [(free_port(), port) for port in (origins.files, origins.app)]
    servers = ["map $http_upgrade $connection_upgrade { default upgrade; '' ''; }"]
    for index, (port, target) in enumerate(ways):
        servers.append(
            f"upstream u{index} {{ server 127.0.0.1:{target}; keepalive 128; }}\n"
            f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://u{index};\n"
            "proxy_http_version 1.1; proxy_set_header Host $http_host;\n"
            "proxy_set_header Upgrade $http_upgrade;\n"
            "proxy_set_header Connection $connection_upgrade;\n"
            "proxy_request_buffering off; proxy_buffering off; } }"
        )
    program = _nginx(programs, "nginx proxy", "\n".join(servers))
    for port, _ in ways:
        wait_port(port, "the nginx proxy")
    files, app = (Way(port, f"localhost:{port}") for port, _ in ways)
    return System("nginx proxy", files, app, (program,))


def start_ssh(programs: Programs, origins: Origins) -> System:
    """Start a private sshd and `ssh -R` to it: a raw TCP pipe, and what the targets count in."""
    sshd, ssh, keygen = (find_program(name) for name in ("sshd", "ssh", "ssh-keygen"))
    folder = programs.folder / "ssh"
    folder.mkdir(mode=0o700)
    for name in ("host", "user"):
        subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd shuts itself in
    port, files, app = free_port(), free_port(), free_port()
    config = folder / "sshd.conf"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nAllowTcpForwarding yes\n"
    )
    server = programs.start("sshd", [sshd, "-D", "-e", "-f", str(config)])
    wait_port(port, "sshd")
    options = {
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "ExitOnForwardFailure": "yes",
        "LogLevel": "ERROR",
    }
    command = [ssh, "-N", "-F", "none", "-i", str(folder / "user"), "-p", str(port)]
    command += [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
    for outer, inner in ((files, origins.files), (app, origins.app)):
        command += ["-R", f"127.0.0.1:{outer}:127.0.0.1:{inner}"]
    client = programs.start("ssh", [*command, f"{getpass.getuser()}@127.0.0.1"])
    wait_port(files, "ssh -R")
    wait_port(app, "ssh -R")
    ways = Way(files, f"localhost:{files}"), Way(app, f"localhost:{app}")
    return System("ssh -R", *ways, (server, client))


def start_bare(programs: Programs, origins: Origins) -> System:
    """Start the bare stack (bench/bare.py): what trio and the kernel cost with nothing on them."""
    viewers, tunnel = free_port(), free_port()
    command = [PYTHON, "-P", str(ROOT / "bench" / "bare.py")]
    environ = environment(programs, "bare", ROOT)
    ends = [
        programs.start(f"bare {role}", [*command, role, *map(str, ports)], environ)
        for role, ports in (("gateway", (viewers, tunnel)), ("client", (tunnel, origins.files)))
    ]
    wait_port(viewers, "the bare gateway")
    way = Way(viewers, f"localhost:{viewers}")
    return System("bare stack", way, way, tuple(ends), carries=frozenset({"requests"}))


def environment(programs: Programs, name: str, tree: Path) -> dict[str, str]:
    """An environment with a home of its own, for a program from ``tree``."""
    home = programs.folder / name.replace(" ", "-")
    home.mkdir(exist_ok=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WORMKEY")}
    return kept | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_STATE_HOME": str(home / "state"),
        "PYTHONPATH": f"{tree / 'src'}{os.pathsep}{sysconfig.get_path('purelib')}",
    }


def program_of(module: str) -> list[str]:
    """The command of one of this project's programs, from the tree that PYTHONPATH names."""
    return [PYTHON, "-P", "-c", f"from wormkey.{module} import main; main()"]


def start_daemon(
    programs: Programs, name: str, tree: Path, *options: str
) -> tuple[Program, int, int]:
    """Start wormkeyd from ``tree``; the ports of its control plane and gateway."""
    control, gateway = free_port(), free_port()
    addresses = ["--control", f"127.0.0.1:{control}", "--gateway", f"127.0.0.1:{gateway}"]
    daemon = programs.start(
        name, [*program_of("daemon"), *addresses, *options], environment(programs, name, tree)
    )
    wait_port(control, name)
    wait_port(gateway, name)
    return daemon, control, gateway


def expose(
    programs: Programs,
    name: str,
    tree: Path,
    control: int,
    target: int,
    options: Sequence[str] = (),
) -> tuple[Program, str]:
    """Start `wormkey expose`; the program and its session's slug."""
    command = [*program_of("cli"), "expose", str(target), "--json", "--no-interactive", *options]
    command += ["--control-plane", f"http://127.0.0.1:{control}"]
    client = programs.start(name, command, environment(programs, name, tree))
    line = client.process.stdout.readline() if client.process.stdout else ""
    if not line:
        raise BenchError(f"{name} ended before it was ready; its log is in {programs.folder}")
    return client, str(json.loads(line)["slug"])


def wormkey(name: str, tree: Path) -> Callable[[Programs, Origins], System]:
    """What starts the daemon and two clients from ``tree``: one for each origin."""

    def start(programs: Programs, origins: Origins) -> System:
        daemon, control, gateway = start_daemon(programs, f"{name} daemon", tree)
        ways: list[Way] = []
        clients: list[Program] = []
        for kind, port in (("client", origins.files), ("client of the app", origins.app)):
            client, slug = expose(programs, f"{name} {kind}", tree, control, port)
            clients.append(client)
            ways.append(Way(gateway, f"{slug}.localhost:{gateway}"))
        return System(name, ways[0], ways[1], (daemon, *clients), control)

    return start

"""``wormkeyd install`` and ``uninstall``: the daemon as a system service, under systemd.

Owns which files go where, in which order things are done, and what is kept: a plan is made first,
shown by --dry-run, then done step by step. The texts come from service.py. A first access token is
made here and handed to the daemon as a credential, so that it never passes through a log; the file
is removed when the daemon has it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click
from attrs import field, frozen

import wormkey
from wormkey import service
from wormkey.command import texts_of, with_options
from wormkey.config import OPTIONS, Settings
from wormkey.errors import ConfigError
from wormkey.firsttoken import FIRST_TOKEN
from wormkey.service import FIXED, UNIT
from wormkey.sources import load_settings, texts_of_file
from wormkey.store import write_private
from wormkey.values import url_parser

# The unit's own bounds: 45 s to stop (TimeoutStopSec=), 30 s to start (TimeoutStartSec=).
_SYSTEMCTL_TIMEOUT_S: Final = 90.0


@frozen
class Place:
    """Where everything lies, below ``root``: / but for tests and images."""

    root: Path

    def at(self, path: str) -> Path:
        """Return the place of an absolute path."""
        return self.root / path.lstrip("/")

    @property
    def unit(self) -> Path:
        """The unit file, where the administrator's belong."""
        return self.at(f"/etc/systemd/system/{UNIT}")

    def socket(self, role: str) -> Path:
        """The unit of a listener's socket, beside it."""
        return self.unit.with_name(service.SOCKETS[role])

    @property
    def config(self) -> Path:
        """The options, readable for everyone."""
        return self.at("/etc/wormkey/wormkeyd.toml")

    @property
    def credential(self) -> Path:
        """The first access token on its way to the daemon; systemd looks for it here."""
        return self.at(f"/etc/credstore/{FIRST_TOKEN}")

    @property
    def state(self) -> Path:
        """What systemd makes for StateDirectory= with DynamicUser=; /var/lib/wormkey leads here."""
        return self.at("/var/lib/private/wormkey")

    @property
    def state_link(self) -> Path:
        """The link to it."""
        return self.at("/var/lib/wormkey")


@frozen
class Step:
    """One thing to do: a line for the person, and what it takes."""

    line: str
    write: Path | None = None
    text: str = field(default="", repr=False)  # may be the token
    mode: int = 0o644
    remove: Path | None = None
    systemctl: tuple[str, ...] = ()

    def do(self) -> None:
        """Do it.

        Raises:
            OSError: a file is in the way, or nobody may write it.
            click.ClickException: systemctl failed.
        """
        if self.write is not None:
            _write(self.write, self.text, self.mode)
        if self.remove is not None:
            _remove(self.remove)
        if self.systemctl:
            _systemctl(self.systemctl)


def _write(path: Path, text: str, mode: int) -> None:
    if not path.parent.is_dir():
        path.parent.mkdir(parents=True)
        # Whatever the umask: others must get to a readable file, and to a secret only root.
        path.parent.chmod(0o755 if mode & 0o044 else 0o700)
    write_private(path, text)
    path.chmod(mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _systemctl(arguments: tuple[str, ...]) -> None:
    command = ("systemctl", *arguments)
    shown = " ".join(command)
    try:
        done = subprocess.run(  # noqa: S603 - fixed words, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=2,  # to stderr: standard output is for the line that the laptop needs
            timeout=_SYSTEMCTL_TIMEOUT_S,
            check=False,
        )
    except FileNotFoundError:
        raise click.ClickException(
            "there is no systemctl here: install and uninstall are for machines that run systemd"
        ) from None
    except subprocess.TimeoutExpired:
        raise click.ClickException(
            f"`{shown}` did not end within {_SYSTEMCTL_TIMEOUT_S:g} s"
        ) from None
    if done.returncode != 0:
        raise click.ClickException(
            f"`{shown}` failed with code {done.returncode}; `journalctl -u {UNIT} -n 20` says why"
        )


# ── the plans ───────────────────────────────────────────────────────────────────────────────


@frozen
class Plan:
    """What to do, what stays as it is, and the token that is on its way."""

    steps: tuple[Step, ...]
    kept: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)

    def show(self) -> None:
        """Print it on stdout."""
        for line in (*self.kept, *(step.line for step in self.steps)):
            click.echo(line)

    def do(self) -> None:
        """Do it, and say so on stderr."""
        for line in self.kept:
            click.echo(line, err=True)
        for step in self.steps:
            click.echo(step.line, err=True)
            step.do()


def plan_install(place: Place, program: Path, flags: dict[str, Any], *, sockets: bool) -> Plan:
    """Decide what an installation takes, given what lies there already.

    ``sockets``: systemd is to hold the listening sockets. Where it does, it goes on to.

    Raises:
        ConfigError: the program cannot be a service, an option cannot be used, or contradicts a
            file that somebody edited.
        OSError: a file that is there cannot be read.
    """
    config, settings = _config(place, flags)
    steps, kept = _writing({place.unit: service.unit_text(program), place.config: config})
    roles = [role for role in service.SOCKETS if sockets or place.socket(role).exists()]
    held, left = _writing(
        {place.socket(role): service.socket_text(role, getattr(settings, role)) for role in roles}
    )
    steps, kept = steps + held, kept + left
    token = _pending_token(place)
    if token is None and not (place.state.is_dir() and any(place.state.iterdir())):
        from wormkey.access import new_token  # noqa: PLC0415 - it stands on trio: see daemon.py

        token = new_token()
        line = f"write {place.credential}: a first access token, until the daemon has it"
        steps.append(Step(line, write=place.credential, text=token + "\n", mode=0o600))
    verb = "restart" if steps or token is not None else "start"
    commands: list[tuple[str, ...]] = [("daemon-reload",)]
    if held or sockets:  # the daemon has the addresses, until it is stopped
        names = tuple(service.SOCKETS[role] for role in roles)
        commands += [("stop", UNIT, *names), ("enable", "--now", *names)]
    for arguments in (*commands, ("enable", UNIT), (verb, UNIT)):
        ready = " and wait until it is ready" if arguments[0] == verb else ""
        steps.append(Step(f"run systemctl {' '.join(arguments)}{ready}", systemctl=arguments))
    return Plan(tuple(steps), tuple(kept), token)


def _writing(texts: dict[Path, str]) -> tuple[list[Step], list[str]]:
    """Return what it takes that these files say this, and which are left as they are."""
    steps: list[Step] = []
    kept: list[str] = []
    for path, text in texts.items():
        if not path.exists():
            steps.append(Step(f"write {path}", write=path, text=text))
        elif (found := path.read_text("utf-8")) == text:
            kept.append(f"keep {path}: it is as it should be")
        elif service.is_edited(found):
            kept.append(f"keep {path}: it has been edited; move it away to get a new one")
        else:
            steps.append(Step(f"write {path} anew", write=path, text=text))
    return steps, kept


def _config(place: Place, flags: dict[str, Any]) -> tuple[str, Settings]:
    """Return the configuration file with these flags over what it says already, as read, too."""
    by_key = {option.key: option for option in OPTIONS if option.key is not None}
    wanted: dict[str, tuple[str, ...]] = {}
    for key, option in by_key.items():
        given = flags.get(option.field)
        if given:
            wanted[key] = (given,) if isinstance(given, str) else tuple(given)
    for key in FIXED.keys() & wanted.keys():
        raise ConfigError(f"{by_key[key].flag} is no option of the service: {FIXED[key]}")
    if flags.get("config_file"):
        raise ConfigError(f"--config is no option of the service, which reads {place.config}")
    load_settings(flags, {})  # refused in words that name the flag
    old: dict[str, tuple[str, ...]] = {}
    if place.config.exists():
        load_settings({"config_file": str(place.config)}, {})  # and here the file
        old = texts_of_file(place.config)
        if service.is_edited(place.config.read_text("utf-8")):
            for key in (key for key, texts in wanted.items() if old.get(key) != texts):
                raise ConfigError(
                    f"{place.config} has been edited and is kept: set {key} in it, or move it away"
                )
    values = {**old, **wanted}
    settings = load_settings(
        {
            by_key[key].field: texts if by_key[key].repeatable else texts[0]
            for key, texts in values.items()
        },
        {},
    )
    return service.config_text(values), settings


def _pending_token(place: Place) -> str | None:
    """Return the token of an installation that did not come to its end."""
    try:
        return place.credential.read_text("ascii").strip()
    except FileNotFoundError:
        return None


def plan_uninstall(place: Place, *, purge: bool) -> Plan:
    """Decide what leads back to a machine without the service."""
    steps: list[Step] = []
    kept: list[str] = []
    if place.unit.exists():
        held = [name for role, name in service.SOCKETS.items() if place.socket(role).exists()]
        stop = ("disable", "--now", *held, UNIT)  # at once, or a visitor starts the service again
        steps += [
            Step(f"run systemctl {' '.join(stop)}, which lets requests end", systemctl=stop),
            *(Step(f"remove {path}", remove=path) for path in map(place.unit.with_name, held)),
            Step(f"remove {place.unit}", remove=place.unit),
            Step("run systemctl daemon-reload", systemctl=("daemon-reload",)),
        ]
    rest = (
        place.unit.with_name(f"{UNIT}.d"),
        place.config,
        place.credential,
        place.state_link,
        place.state,
    )
    for path in rest:
        if path.exists() or path.is_symlink():
            if purge:
                steps.append(Step(f"remove {path}", remove=path))
            else:
                kept.append(f"keep {path} (--purge removes it)")
    if purge and place.config.parent.is_dir():
        others = [path for path in place.config.parent.iterdir() if path != place.config]
        if others:
            kept.append(f"keep {place.config.parent}: it holds {others[0].name}")
        else:
            steps.append(Step(f"remove {place.config.parent}", remove=place.config.parent))
    return Plan(tuple(steps), tuple(kept))


def this_program() -> Path:
    """Return the wormkeyd that is running, as the unit can start it.

    Raises:
        ConfigError: the unit's sandbox hides it, its Python or its packages; or it is not found.
    """
    beside = Path(sys.executable).with_name("wormkeyd")
    called = Path(sys.argv[0]).absolute()
    program = called if called.name == "wormkeyd" and os.access(called, os.X_OK) else beside
    if not os.access(program, os.X_OK):
        raise ConfigError(f"there is no program {program}: install wormkey with pip first")
    package = Path(wormkey.__file__)
    python = Path(sys.executable)
    service.check_visible(
        [program, program.resolve(), package, package.resolve(), python, python.resolve()]
    )
    return program


# ── the commands ────────────────────────────────────────────────────────────────────────────

_ROOT = click.option("--root", type=click.Path(path_type=Path), default=Path("/"), hidden=True)


@click.command()
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--sockets", is_flag=True, help="Let systemd hold the listening sockets.")
@click.option("--control-url", metavar="URL", help="Where laptops reach the control plane.")
@click.option("--program", type=click.Path(path_type=Path), hidden=True)
@_ROOT
@with_options(hidden=True)
@click.pass_context
def install(
    context: click.Context,
    /,
    *,
    dry_run: bool,
    sockets: bool,
    control_url: str | None,
    program: Path | None,
    root: Path,
    **flags: Any,  # noqa: ANN401 - texts of the table
) -> int:
    """Make wormkeyd a system service and start it; needs root.

    Takes every option of wormkeyd and writes it into the service's configuration. Prints the
    command that a laptop needs. Run again, it keeps every file that was edited.
    With --sockets a restart refuses nobody: who comes meanwhile waits.
    """
    _check_root(root)
    url = None if control_url is None else url_parser("http", "https")(control_url)
    place = Place(root)
    program = program or this_program()
    plan = plan_install(place, program, texts_of(context, flags), sockets=sockets)
    if dry_run:
        plan.show()
        return 0
    plan.do()
    again = f"{program} token add NAME --state-dir {place.state_link}"
    if plan.token is None:
        click.echo(f"it runs, and has had its first access token; one more: {again}", err=True)
        return 0
    click.echo(f"it runs; one more access token later: {again}", err=True)
    click.echo(f"wormkey login {url or _control_url(place)} --token {plan.token}")
    sys.stdout.flush()
    place.credential.unlink()  # taken and told; from here on only its digest is kept
    return 0


def _check_root(root: Path) -> None:
    if root == Path("/") and os.geteuid() != 0:
        raise click.ClickException("only root can do this; run it again behind sudo")


def _control_url(place: Place) -> str:
    settings = load_settings({"config_file": str(place.config)}, {})
    url = service.control_url(settings, socket.getfqdn())
    if url is None:
        url = f"http://{settings.control}"
        click.echo(
            f"only this machine reaches {url}; README.md, 'On a droplet', puts a web server before "
            "it; then say --public-url and --control-url",
            err=True,
        )
    return url


@click.command()
@click.option("--purge", is_flag=True, help="Remove sessions, tokens and configuration, too.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@_ROOT
def uninstall(*, purge: bool, dry_run: bool, root: Path) -> int:
    """Stop the service and remove its unit; needs root. Keeps state and configuration."""
    _check_root(root)
    plan = plan_uninstall(Place(root), purge=purge)
    if dry_run:
        plan.show()
    else:
        plan.do()
    if not plan.steps:
        click.echo("there is nothing to remove", err=True)
    return 0

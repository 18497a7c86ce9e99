"""docs/: their tables say what the code says, their links and file names lead somewhere."""

from __future__ import annotations

import ast
import importlib
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import click
import pytest

from wormkey import cli, openapi, statefolder
from wormkey.apicodes import API_ERRORS, TUNNEL_CODES
from wormkey.codes import ERRORS
from wormkey.config import OPTIONS, Settings
from wormkey.exits import ExitCode
from wormkey.explain import spell
from wormkey.metrics import FIGURES
from wormkey.values import parse_count, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from wormkey.codes import ErrorPage

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SOURCES = ROOT / "src" / "wormkey"
PAGES = sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md"))

# The classes whose numbers are limits; each of them must stand in docs/limits.md.
BOUNDED = (
    "config.Settings",
    "http1.Http1Limits",
    "inbox.MuxLimits",
    "keepalive.TunnelTimings",
    "client.ClientSettings",
)
# Constants that are named like limits and bound nothing that a peer could make grow.
NO_LIMITS = frozenset(
    {
        "frames.MIN_FRAME_LIMIT_BYTES",  # a floor of the protocol, protocol.md §3.1
        "overlay.NONCE_BYTES",
        "policy.SALT_BYTES",
        "access.TOKEN_BYTES",
        "registry.SECRET_BYTES",
        "registry.PASSWORD_BYTES",
        "session.MIN_NAME_LENGTH",
        "session.SLUG_RANDOM_BYTES",
        "owners.BROWSER_ID_BYTES",
        "viewers.ID_BYTES",
        "signing.KEY_BYTES",
        "signing.TAG_BYTES",
        "wire.HEADER_BYTES",
        "wire0.HEADER_BYTES0",
    }
)


def rows(page: str, table: str) -> list[list[str]]:
    """The cells of a page's table behind its ``<!-- table: name -->`` mark, without its head."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(rf"<!-- table: {table} -->\n((?:\|.*\n)+)", text)
    assert found, f"docs/{page} has no table {table}"
    lines = [line for block in found for line in block.splitlines()[2:]]
    return [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


def bare(cell: str) -> str:
    """A cell without its code marks."""
    return cell.replace("`", "").replace(r"\<", "<")


def test_the_option_table_is_that_of_the_code() -> None:
    """docs/operations.md lists every option, in order, as `wormkeyd --help` does."""
    expected = [
        [
            f"{option.flag} {option.metavar}".strip(),
            ", else ".join(option.variables),
            option.key or "",
            option.default,
            option.help + ("; may be repeated" if option.repeatable else ""),
            "reload" if option.live else "restart",
        ]
        for option in OPTIONS
    ]
    assert [[bare(cell) for cell in row] for row in rows("operations.md", "options")] == expected


def test_every_file_of_the_state_folder_is_explained() -> None:
    """docs/operations.md names what an operator finds there, and nothing else."""
    files = {
        value
        for name, value in vars(statefolder).items()
        if name.endswith(("_FILE", "_SOCKET")) and isinstance(value, str)
    }
    shown = [bare(row[0]) for row in rows("operations.md", "state folder")]
    assert sorted(shown) == sorted([*files, "wormkeyd.sqlite3-wal, -shm"])


@pytest.mark.parametrize(
    ("table", "codes"), [("errors", ERRORS), ("api", API_ERRORS), ("tunnel", TUNNEL_CODES)]
)
def test_the_error_tables_are_those_of_the_code(table: str, codes: Mapping[str, ErrorPage]) -> None:
    """docs/errors.md says of every code what pages and `wormkey explain` say."""
    expected = [
        [code, str(page.status or "-"), page.side.value, page.meaning, page.remedy]
        for code, page in codes.items()
    ]
    assert [[bare(cell) for cell in row] for row in rows("errors.md", table)] == expected


def test_the_example_of_explain_is_what_it_says() -> None:
    """docs/errors.md shows the entry of no_tunnel as the program prints it."""
    text = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert f"$ wormkey explain no_tunnel\n{spell('no_tunnel')}\n```" in text


def test_the_figures_are_those_of_the_code() -> None:
    """docs/operations.md lists every figure of /metrics, in order, as the exposition tells it."""
    expected = [[figure.name, figure.kind, figure.label, figure.help] for figure in FIGURES]
    assert [[bare(cell) for cell in row] for row in rows("operations.md", "figures")] == expected


def test_the_call_table_is_that_of_the_api() -> None:
    """docs/api.md lists every call: who may make it, what goes in and what comes back."""
    kinds = {"": "text", "-": "OpenAPI"}
    expected = [
        [
            f"{call.method} {call.path}",
            call.who,
            call.content,
            f"{call.status} {kinds.get(call.answer, call.answer)}",
            call.summary,
        ]
        for call in openapi.CALLS
    ]
    assert [[bare(cell) for cell in row] for row in rows("api.md", "calls")] == expected


def test_the_code_table_is_that_of_the_api() -> None:
    """docs/api.md lists every error code with its status."""
    expected = [[code, str(each.status), each.meaning] for code, each in openapi.ERRORS.items()]
    assert [[bare(cell) for cell in row] for row in rows("api.md", "codes")] == expected


def test_the_exit_codes_are_those_of_the_code() -> None:
    """docs/usage.md lists every exit code of the client by number and name."""
    listed = [(int(bare(row[0])), bare(row[1])) for row in rows("usage.md", "exits")]
    assert listed == [(code.value, code.name) for code in ExitCode]


def test_the_expose_options_are_those_of_the_code() -> None:
    """docs/usage.md lists every option of `wormkey expose` with its variable and default."""
    expose = cli._wormkey.commands["expose"]
    expected = []
    for option in expose.params:
        if not isinstance(option, click.Option):
            continue
        flags = ", ".join(option.opts) + "".join(f"/{flag}" for flag in option.secondary_opts)
        default = str(option.default) if option.show_default is True else ""
        expected.append([flags, str(option.envvar or ""), default])
    listed = [[bare(cell) for cell in row[:3]] for row in rows("usage.md", "expose")]
    assert listed == expected


def test_the_floors_are_those_of_the_import_contract() -> None:
    """docs/architecture.md shows the floors that pyproject.toml enforces."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["id"] == "floors")
    expected = [sorted(re.findall(r"\w+", layer)) for layer in layers]
    listed = rows("architecture.md", "floors")
    assert [sorted(re.findall(r"\w+", row[1])) for row in listed] == expected
    assert [int(row[0]) for row in listed] == list(range(1, len(layers) + 1))


# ── limits ──────────────────────────────────────────────────────────────────────────────────


def resolve(name: str) -> Any:
    """The value in the code of `module.CONSTANT`, or the default of `module.Class.attribute`."""
    path, _, last = name.rpartition(".")
    module, _, owner = path.rpartition(".")
    if owner[:1].isupper():
        cls = getattr(importlib.import_module(f"wormkey.{module}"), owner)
        return getattr(attrs.fields(cls), last).default
    return getattr(importlib.import_module(f"wormkey.{path}"), last)


def parse_of(name: str) -> Any:
    """The reader of a limit's default, by the unit at the end of its name."""
    tail = name.rpartition(".")[2].lower()
    if tail.endswith("_s"):
        return parse_duration
    return parse_size if tail.rstrip("0").endswith("_bytes") else parse_count


LIMITS = {bare(row[1]): row for row in rows("limits.md", "limits")}


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_has_the_default_of_the_code(name: str) -> None:
    """A default in docs/limits.md is the value that the code starts with."""
    text = bare(LIMITS[name][2])
    assert parse_of(name)(text) == pytest.approx(resolve(name)), name


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_names_its_option(name: str) -> None:
    """A limit of Settings names its flag; what has no flag says "fixed"."""
    flags = {f"config.Settings.{option.field}": option.flag for option in OPTIONS}
    listed = bare(LIMITS[name][3])
    if name in flags:
        assert listed == flags[name]
    else:
        assert listed == "fixed" or listed in flags.values()


def limits_in_code() -> Iterator[str]:
    """Every number that bounds something: attributes of BOUNDED, and constants named so."""
    for name in BOUNDED:
        module, _, cls = name.partition(".")
        owner = getattr(importlib.import_module(f"wormkey.{module}"), cls)
        for field in attrs.fields(owner):
            if isinstance(field.default, int | float) and not isinstance(field.default, bool):
                yield f"{name}.{field.name}"
    for path in SOURCES.rglob("*.py"):
        module = ".".join(path.relative_to(SOURCES).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            name = _constant(node)
            if re.fullmatch(r"MAX_\w+|[A-Z]\w*_(S|BYTES0?|TRIES|FRAMES|THREADS)", name):
                yield f"{module}.{name}"


def _constant(node: ast.stmt) -> str:
    """The name that an annotated assignment gives, nothing for another statement."""
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return ""


def test_every_limit_of_the_code_is_listed() -> None:
    """No limit is added to the code without a line in docs/limits.md."""
    assert sorted(set(limits_in_code()) - set(LIMITS) - NO_LIMITS) == []


def test_settings_are_all_described() -> None:
    """The option table is made from Settings, so no attribute can be missing from it."""
    assert [option.field for option in OPTIONS] == [each.name for each in attrs.fields(Settings)]


# ── links and names ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A relative link names a file that exists."""
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES)
def test_source_files_that_are_named_exist(page: str) -> None:
    """A page never speaks of a source file that has been renamed."""
    text = (ROOT / page).read_text(encoding="utf-8")
    known = {"x.py", "test_x.py"} | {  # those stand for any
        path.name
        for folder in ("src", "tests", "scripts", "examples", "docs", "bench")
        for path in (ROOT / folder).rglob("*.py")
    }
    for name in re.findall(r"`(?:[\w/]+/)?(\w+\.py)`", text):
        assert name in known, name


@pytest.mark.parametrize("page", PAGES)
def test_functions_that_are_named_exist(page: str) -> None:
    """`Class.method` and `module.name` in a page are real."""
    text = (ROOT / page).read_text(encoding="utf-8")
    texts: dict[str, str] = {}
    for path in SOURCES.rglob("*.py"):  # two modules are called local
        texts[path.stem] = texts.get(path.stem, "") + path.read_text(encoding="utf-8")
    everything = "\n".join(texts.values())
    for owner, name in re.findall(r"`(\w+)\.(\w+)`", text):
        if owner in texts and name not in ("py", "toml"):
            assert re.search(rf"\b{name}\b", texts[owner]), f"{owner}.{name}"
        elif re.search(rf"^class {owner}\b", everything, re.MULTILINE):
            assert re.search(rf"\b{name}\b", everything), f"{owner}.{name}"

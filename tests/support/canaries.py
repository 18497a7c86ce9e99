"""Secrets, planted wherever one can be said, and all the places where one could stay."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio
from attrs import field, frozen

from tests.support.messages import response
from tests.support.origin import answering, start_origin
from tests.support.process import DAEMON, Daemon, run, running_client, running_daemon
from tests.support.viewer import open_viewer
from tests.support.world import call

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.messages import Response

USER = "viewer"
PASSWORD = "canary-of-http-basic"
FORM = b"application/x-www-form-urlencoded"
UPGRADE = (
    (b"Connection", b"Upgrade"),
    (b"Upgrade", b"websocket"),
    (b"Sec-WebSocket-Version", b"13"),
    (b"Sec-WebSocket-Key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
)
FROM_THE_APP = response(b"canary-in-an-answer", fields=((b"Set-Cookie", b"a=canary-set-by-app"),))
PLANTED = frozenset(
    {
        PASSWORD,
        "canary-basic-wrong",
        "canary-of-the-form",
        "canary-form-wrong",
        "canary-access-wrong",
        "canary-session-wrong",
        "canary-owner-wrong",
        "canary-tunnel-wrong",
        "canary-claim-wrong",
        "canary-in-a-query",
        "canary-in-a-control-query",
        "canary-in-a-cookie",
        "canary-in-a-field",
        "canary-in-content",
        "canary-in-an-answer",
        "canary-set-by-app",
        "canary-of-another-session",
    }
)


def basic(password: str) -> tuple[bytes, bytes]:
    """The field by which a viewer logs in."""
    return b"Authorization", b"Basic " + base64.b64encode(f"{USER}:{password}".encode())


def bearer(token: str) -> tuple[bytes, bytes]:
    """The field by which a token travels."""
    return b"Authorization", b"Bearer " + token.encode()


def forms_of(secret: str) -> Iterator[str]:
    """A secret as it is, and as HTTP Basic carries it."""
    yield secret
    yield base64.b64encode(f"{USER}:{secret}".encode()).decode()


@frozen
class Aftermath:
    """What was left when all was over: texts by place, and the secrets that the daemon made."""

    places: dict[str, str]
    secrets: list[str]
    slug: str
    log: list[str] = field(factory=list)

    def found(self) -> dict[str, list[str]]:
        """Return the places of each secret, planted or made, that stands anywhere in any form."""
        return {
            secret: places
            for secret in (*PLANTED, *self.secrets)
            if (
                places := [
                    name
                    for name, text in self.places.items()
                    if any(form in text for form in forms_of(secret))
                ]
            )
        }


async def ask(
    address: tuple[str, int], target: str, method: str = "GET", **request: Any
) -> Response:
    """Make one request on a connection of its own."""
    viewer = await open_viewer(*address, b"localhost:%d" % address[1])
    answer = await viewer.exchange(target.encode(), method=method.encode(), **request)
    await viewer.aclose()
    return answer


def command_line(pid: int) -> str:
    """Return what ``ps`` shows of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text()


async def plant_at_the_gateway(gateway: tuple[str, int], slug: str) -> None:
    """Say secrets as viewers, as an owner and as a client."""
    page, desk = f"/s/{slug}/?q=canary-in-a-query", f"slug={slug}"
    said = [
        basic(PASSWORD),
        (b"Cookie", b"session=canary-in-a-cookie"),
        (b"X-Api-Key", b"canary-in-a-field"),
    ]
    answer = await ask(gateway, page, "POST", fields=said, content=b"canary-in-content")
    assert (answer.status, answer.data) == (200, b"canary-in-an-answer")
    assert (await ask(gateway, page, fields=[basic("canary-basic-wrong")])).status == 401
    claim = f"/.wormkey/owner?{desk}&token=canary-claim-wrong"
    assert (await ask(gateway, claim)).status == 401
    tunnel = [bearer(f"{slug}.canary-tunnel-wrong"), *UPGRADE]
    assert (await ask(gateway, "/tunnel", fields=tunnel)).status == 401


async def plant_at_the_control_plane(
    daemon: Daemon, access: str, told: dict[str, Any]
) -> list[str]:
    """Say secrets to the API, right and wrong; return those that it made."""
    control, slug, session = daemon.control, told["slug"], f"/sessions/{told['session_id']}"
    owner = told["owner_url"].partition("token=")[2]
    wish = {"port": 1, "authMode": "basic", "password": "canary-of-another-session"}
    status, made = await call(control, "POST", "/sessions", token=access, body=wish)
    assert status == 201
    for target, token, expected in (
        ("/access?q=canary-in-a-control-query", access, 200),
        ("/access", "canary-access-wrong", 401),
        (session, made["sessionToken"], 401),
        (session, "canary-session-wrong", 401),
        (f"/sessions/{made['sessionId']}", made["sessionToken"], 200),
    ):
        assert (await call(control, "GET", target, token=token))[0] == expected
    policy = f"/sessions/by-slug/{slug}/policy"
    body = {"password": "canary-of-the-form"}
    assert (await call(control, "POST", policy, token="canary-owner-wrong", body=body))[0] == 401
    assert (await call(control, "POST", policy, token=owner, body=body))[0] == 200
    form = {"fields": [(b"Content-Type", FORM)], "content": b"password=canary-form-wrong&target=/"}
    gate = f"/.wormkey/gate?slug={slug}"
    assert (await ask(daemon.gateway, gate, "POST", **form)).status == 401
    return [
        owner,
        made["sessionToken"].partition(".")[2],
        made["ownerUrl"].partition("token=")[2],
    ]


async def plant_everywhere(tmp_path: Path) -> Aftermath:
    """Run a daemon and a client, say every secret to them, end them, and read what is left."""
    state, token_file = tmp_path / "daemon", tmp_path / "token"
    options = ("--access", "token", "--log-level", "debug", "--access-log")
    places: dict[str, str] = {}
    with trio.fail_after(60):
        async with (
            trio.open_nursery() as nursery,
            running_daemon(tmp_path, *options, "--audit-log", f"{state}/audit.log") as daemon,
        ):
            first = await daemon.process.wait_line(daemon.process.out, lambda _: True)
            secrets = [first.rpartition(" ")[2]]
            code, out, _ = await run(
                (*DAEMON, "token", "add", "laptop", "--state-dir", str(state)), tmp_path
            )
            assert code == 0
            access = out.strip()
            token_file.write_text(out)
            origin = await start_origin(nursery, answering(FROM_THE_APP))
            arguments = (str(origin.port), "--token-file", str(token_file))
            async with running_client(
                daemon, tmp_path, *arguments, WORMKEY_AUTH=f"{USER}:{PASSWORD}"
            ) as (client, told):
                await plant_at_the_gateway(daemon.gateway, told["slug"])
                secrets += await plant_at_the_control_plane(daemon, access, told)
                kept = json.loads(next((tmp_path / "state").rglob("sessions.json")).read_text())
                secrets += [kept["sessions"][0]["session_token"].partition(".")[2], access]
                for process in (daemon.process, client):
                    places[f"command line {process.pid}"] = command_line(process.pid)
                figures = await ask(daemon.control, "/metrics", fields=[bearer(access)])
                assert figures.status == 200
                places["figures"] = figures.data.decode()
                status = (*DAEMON, "status", "--json", "--state-dir", str(state))
                places["status"] = (await run(status, tmp_path))[1]
            await daemon.process.end()
            nursery.cancel_scope.cancel()
    log = "\n".join(daemon.process.err)
    places |= {"stderr": log, "stdout": "\n".join(daemon.process.out).replace(first, "")}
    for file in sorted(state.iterdir()):
        if file.is_file() and file.name not in {"local-token", "signing-key"}:
            places[file.name] = file.read_bytes().decode("latin-1")
    return Aftermath(places, secrets, told["slug"], daemon.process.err)

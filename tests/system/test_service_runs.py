"""The service under a real systemd: its sandbox, its token, its crashes, and its end."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.system.story import WORMKEYD, Story

if TYPE_CHECKING:
    from tests.system.droplet import Droplet

CONFIG = "/etc/wormkey/wormkeyd.toml"
WAIT_S = 30.0


@pytest.fixture(scope="module")
def story(droplet: Droplet) -> Story:
    """The droplet of the README, up to the service that runs."""
    story = Story.begin(droplet)
    story.install()
    return story


def api(story: Story, path: str, token: str = "", data: str = "") -> tuple[int, str]:
    """Ask the control plane; return status and body."""
    script = (
        'curl -sS -w "\\n%{http_code}" --max-time 20 ${TOKEN:+-H "Authorization: Bearer $TOKEN"}'
    )
    script += ' ${DATA:+-H "Content-Type: application/json" -d "$DATA"} "http://127.0.0.1:3001$ASK"'
    out = story.droplet.run(script, TOKEN=token, DATA=data, ASK=path).stdout
    body, _, status = out.rpartition("\n")
    return int(status), body


def shown(story: Story, name: str) -> str:
    """A property of the unit, as `systemctl show` has it."""
    return story.droplet.run(f"systemctl show -p {name} --value wormkey").stdout.strip()


def wait_for(story: Story, name: str, *values: str) -> None:
    """Wait until a property has one of these values."""
    deadline = time.monotonic() + WAIT_S
    while (found := shown(story, name)) not in values:
        assert time.monotonic() < deadline, f"{name} is {found}"
        time.sleep(0.1)


def restarted(story: Story, pid: str) -> None:
    """Wait until another process than ``pid`` is ready."""
    deadline = time.monotonic() + WAIT_S
    while shown(story, "MainPID") in {pid, "0"} or shown(story, "ActiveState") != "active":
        assert time.monotonic() < deadline, shown(story, "StatusText")
        time.sleep(0.1)


def test_it_is_nobody_in_a_sandbox_with_a_state_folder_of_its_own(story: Story) -> None:
    """No capability, system calls filtered, no homes; its state is its own and nobody else's."""
    pid = shown(story, "MainPID")
    lines = story.droplet.run(f"cat /proc/{pid}/status").stdout.splitlines()
    status = dict(line.split(":\t", 1) for line in lines)
    uid = status["Uid"].split()[0]
    assert int(uid) >= 61184  # the first of systemd's dynamic users
    assert {status[name] for name in ("CapEff", "CapBnd", "CapPrm")} == {"0" * 16}
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    state = story.droplet.run('stat -Lc "%u %a" /var/lib/wormkey /var/lib/wormkey/*').stdout
    assert state.split("\n")[0] == f"{uid} 700"
    assert set(state.splitlines()[1:]) == {f"{uid} 600"}
    seen = story.droplet.run(
        "mkdir -p /home/alice && nsenter -t $(systemctl show -p MainPID --value wormkey) -m "
        "sh -c 'ls -A /home; touch /etc/x 2>&1; touch /var/lib/wormkey/x && rm /var/lib/wormkey/x'",
    )
    assert seen.stdout == "touch: cannot touch '/etc/x': Read-only file system\n"
    assert api(story, "/ready") == (200, "ok")


def test_the_first_token_works_and_is_written_nowhere(story: Story) -> None:
    """Neither in the journal nor in a file; a second install makes no other one."""
    assert api(story, "/access", story.token)[0] == 200
    assert api(story, "/access", story.token[:-1])[0] == 401
    again = story.droplet.run(f"{WORMKEYD} install")
    assert again.stdout == ""
    assert "it runs, and has had its first access token" in again.stderr
    assert api(story, "/access", story.token)[0] == 200
    journal = story.droplet.run("journalctl --no-pager -o json -u wormkey").stdout
    assert '"ready' in journal.replace("\\", "")
    assert "wk_" not in journal
    files = story.droplet.run(
        'grep -rlaF -- "$TOKEN" /etc /var/lib/private /var/log /run/systemd || true',
        TOKEN=story.token,
    ).stdout
    assert files == ""


def test_a_killed_daemon_comes_back_with_its_sessions(story: Story) -> None:
    """Restart=on-failure; the session was on the disk before anyone heard of it."""
    wish = json.dumps({"port": 5173, "authMode": "none", "expiresIn": "1h"})
    status, body = api(story, "/sessions", story.token, wish)
    assert status == 201, body
    slug = json.loads(body)["slug"]
    pid = shown(story, "MainPID")
    story.droplet.run(f"kill -KILL {pid}")
    restarted(story, pid)
    status, body = api(story, f"/sessions/by-slug/{slug}")
    assert (status, json.loads(body)["closed"]) == (200, False)


def test_root_makes_tokens_beside_the_running_daemon(story: Story) -> None:
    """They count at once and after a restart: the files stay the daemon's."""
    add = f"{WORMKEYD} token add laptop-{time.monotonic_ns()} --state-dir /var/lib/wormkey"
    token = story.droplet.run(add).stdout.strip()
    assert api(story, "/access", token)[0] == 200
    story.droplet.run("systemctl restart wormkey")
    assert api(story, "/access", token)[0] == 200


def test_a_stop_drains_and_is_a_success(story: Story) -> None:
    """SIGTERM, not the timeout: exit code 0 well before TimeoutStopSec=."""
    story.droplet.run("systemctl stop wormkey")
    assert (shown(story, "Result"), shown(story, "ExecMainStatus")) == ("success", "0")
    story.droplet.run("systemctl start wormkey")


def test_a_configuration_that_cannot_be_used_is_not_tried_again(story: Story) -> None:
    """One start, one line in the journal; once it is repaired, it runs."""
    story.droplet.run(f"cp {CONFIG} /run/good.toml; echo 'holt = \"5s\"' >> {CONFIG}")
    story.droplet.run("systemctl restart wormkey", code=1)
    assert (shown(story, "ActiveState"), shown(story, "NRestarts")) == ("failed", "0")
    journal = story.droplet.run("journalctl --no-pager -o cat -n 20 -u wormkey").stdout
    assert f"wormkeyd: {CONFIG}: unknown key 'holt'; did you mean 'hold'?" in journal
    story.droplet.run(f"cp /run/good.toml {CONFIG}; systemctl restart wormkey")
    assert shown(story, "ActiveState") == "active"


def test_it_goes_and_comes_back_and_goes_for_good(story: Story) -> None:
    """Uninstalled, its state stays for the next installation; purged, nothing does."""
    old = story.token
    story.droplet.run(f"{WORMKEYD} uninstall")
    assert shown(story, "LoadState") == "not-found"
    assert story.droplet.run(f"{WORMKEYD} install").stdout == ""
    assert api(story, "/access", old)[0] == 200
    story.droplet.run(f"{WORMKEYD} uninstall --purge")
    left = "ls -d /etc/wormkey /etc/credstore/* /var/lib/wormkey /var/lib/private/wormkey"
    assert story.droplet.run(f"{left} 2> /dev/null", code=2).stdout == ""
    printed = story.droplet.run(f"{WORMKEYD} install --public-url https://tunnel.example.com")
    story.token = printed.stdout.split()[-1]
    assert api(story, "/access", old)[0] == 401
    assert api(story, "/access", story.token)[0] == 200

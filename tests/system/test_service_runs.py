"""The service under a real systemd: its sandbox, its token, its crashes, and its end."""

from __future__ import annotations

import contextlib
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING

from tests.system.story import WORMKEYD, Story

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

CONFIG = "/etc/wormkey/wormkeyd.toml"
DROP_IN = "/etc/systemd/system/wormkey.service.d/watchdog.conf"
ENOUGH = "/run/droplet/enough"
APP_PORT = 5180
WAIT_S = 30.0
DRAIN_S = 3
SLACK_S = 10  # a busy machine; systemd's own bound is 45 s


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


def now(story: Story) -> str:
    """The journal's end, as a cursor."""
    out = story.droplet.run("journalctl --no-pager -q -o export -n 1").stdout
    return next(line for line in out.splitlines() if line.startswith("__CURSOR="))[9:]


def journal(story: Story, since: str = "") -> str:
    """What the daemon logged, and systemd about it, since a cursor."""
    script = 'journalctl --no-pager -q -o cat -u wormkey ${SINCE:+--after-cursor "$SINCE"}'
    return story.droplet.run(script, SINCE=since).stdout


def logged(story: Story, since: str, event: str) -> dict[str, str]:
    """Wait until the daemon has logged this; return the record."""
    deadline = time.monotonic() + WAIT_S
    while True:
        text = journal(story, since)
        records = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        for record in records:
            if record["event"] == event:
                return dict(record)
        assert time.monotonic() < deadline, text
        time.sleep(0.1)


def restarted(story: Story, pid: str) -> None:
    """Wait until another process than ``pid`` is ready."""
    deadline = time.monotonic() + WAIT_S
    while shown(story, "MainPID") in {pid, "0"} or shown(story, "ActiveState") != "active":
        assert time.monotonic() < deadline, shown(story, "StatusText")
        time.sleep(0.1)


@contextlib.contextmanager
def reloaded(story: Story, **options: str) -> Iterator[None]:
    """Set options in the configuration by a reload; at the end the old ones hold again."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in options.items())
    story.droplet.run(f'cp {CONFIG} /run/good.toml; printf %s "$MORE" >> {CONFIG}', MORE=lines)
    try:
        since = now(story)
        story.droplet.run("systemctl reload wormkey")
        logged(story, since, "reloaded")
        yield
    finally:
        story.droplet.run(f"cp /run/good.toml {CONFIG}; systemctl restart wormkey")


@contextlib.contextmanager
def shared(story: Story) -> Iterator[str]:
    """Share lines.py by the service; yield its URL, as it is on the droplet without Caddy."""
    story.droplet.run(f"rm -f {ENOUGH}")
    client = f"exec wormkey expose {APP_PORT} --edge ws://127.0.0.1:3002 --token {story.token}"
    with (
        story.serving(f"exec python tests/system/lines.py {APP_PORT} {ENOUGH}"),
        story.serving(f"{client} --control-plane http://127.0.0.1:3001") as url,
    ):
        yield url.replace("https://tunnel.example.com", "http://127.0.0.1:3002")


@contextlib.contextmanager
def view(story: Story, url: str) -> Iterator[subprocess.Popen[str]]:
    """Read lines of that app; the first one is there."""
    with story.droplet.start(f"exec curl -sSN --max-time 60 {url}") as process:
        try:
            read_line(process, 0)
            yield process
        finally:
            story.droplet.stop(process)


def read_line(process: subprocess.Popen[str], since: float) -> None:
    """Wait for a line that the app wrote after the moment ``since`` of the monotonic clock."""
    assert process.stdout is not None
    while (line := process.stdout.readline().strip()) and float(line) <= since:
        pass
    assert line, process.communicate(timeout=WAIT_S)


def rest_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for the end; return the exit code and the last line."""
    out, err = process.communicate(timeout=WAIT_S)
    return process.returncode, (out or err).splitlines()[-1]


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
    said = journal(story)
    assert '"ready"' in said
    assert "wk_" not in said
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


def test_a_token_of_roots_comes_before_the_store(story: Story) -> None:
    """Made while the service has none: the file is the service's, which starts with the token."""
    old = story.token
    state = "/var/lib/private/wormkey"
    story.droplet.run(f"systemctl stop wormkey; mv {state}/wormkeyd.sqlite3 /run/old.sqlite3")
    add = f"{WORMKEYD} token add early --state-dir /var/lib/wormkey"
    token = story.droplet.run(add).stdout.strip()
    story.droplet.run("systemctl start wormkey")
    assert api(story, "/access", token)[0] == 200
    story.droplet.run(f"systemctl stop wormkey; cp /run/old.sqlite3 {state}/wormkeyd.sqlite3")
    story.droplet.run("systemctl start wormkey")
    assert api(story, "/access", old)[0] == 200


def test_a_reload_changes_options_under_a_request(story: Story) -> None:
    """No restart: the same process serves on, and a request that is under way comes to its end."""
    pid = shown(story, "MainPID")
    wish = json.dumps({"port": APP_PORT, "expiresIn": "2h"})
    with shared(story) as url, view(story, f"{url}/whole") as viewer:
        assert api(story, "/sessions", story.token, wish)[0] == 201
        with reloaded(story, max_session_age="1h"):
            assert api(story, "/sessions", story.token, wish)[0] == 400
            assert shown(story, "MainPID") == pid
            read_line(viewer, time.monotonic())
            story.droplet.run(f"touch {ENOUGH}")
            assert rest_of(viewer) == (0, "whole")


def test_a_new_process_takes_over_under_a_request(story: Story) -> None:
    """SIGUSR2: systemd follows to the new process, and what is under way comes to its end."""
    pid = shown(story, "MainPID")
    with shared(story) as url, view(story, f"{url}/whole") as viewer:
        since = now(story)
        story.droplet.run("systemctl kill --kill-whom=main --signal=USR2 wormkey")
        logged(story, since, "handed over")
        wait_for(story, "ActiveState", "active")
        assert shown(story, "MainPID") != pid
        assert api(story, "/access", story.token)[0] == 200
        read_line(viewer, time.monotonic())
        story.droplet.run(f"touch {ENOUGH}")
        assert rest_of(viewer) == (0, "whole")
        logged(story, since, "predecessor gone")
        assert shown(story, "ActiveState") == "active"
        assert shown(story, "SubState") == "running"
    fed = shown(story, "WatchdogTimestampMonotonic")
    deadline = time.monotonic() + WAIT_S
    while shown(story, "WatchdogTimestampMonotonic") == fed:  # by the new one
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_stopped_process_is_killed_and_started_anew(story: Story) -> None:
    """By systemd's watchdog, which it feeds as long as it lives."""
    story.droplet.write(DROP_IN, "[Service]\nWatchdogSec=2\n")
    try:
        story.droplet.run("systemctl daemon-reload; systemctl restart wormkey")
        fed = shown(story, "WatchdogTimestampMonotonic")
        deadline = time.monotonic() + WAIT_S
        while shown(story, "WatchdogTimestampMonotonic") == fed:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        pid = shown(story, "MainPID")
        assert shown(story, "NRestarts") == "0"
        since = now(story)
        story.droplet.run(f"kill -STOP {pid}")
        restarted(story, pid)
        assert shown(story, "NRestarts") == "1"
        assert "wormkey.service: Watchdog timeout" in journal(story, since)
        assert api(story, "/ready") == (200, "ok")
    finally:
        story.droplet.run(f"rm -r $(dirname {DROP_IN}); systemctl daemon-reload")
        story.droplet.run("systemctl restart wormkey")


def test_a_stop_drains_and_is_a_success(story: Story) -> None:
    """What ends in time ends whole; what does not is cut at --drain-timeout, not at systemd's.

    Of a process that took over, too: systemd must know it for its own.
    """
    handed = now(story)
    story.droplet.run("systemctl kill --kill-whom=main --signal=USR2 wormkey")
    logged(story, handed, "predecessor gone")
    with (
        shared(story) as url,
        reloaded(story, drain_timeout=f"{DRAIN_S}s"),
        view(story, f"{url}/whole") as ends,
        view(story, f"{url}/endless") as goes_on,
    ):
        since = now(story)
        story.droplet.run("systemctl stop --no-block wormkey")
        begun = logged(story, since, "draining")
        story.droplet.run(f"touch {ENOUGH}")
        assert rest_of(ends) == (0, "whole")
        assert rest_of(goes_on)[0] != 0
        wait_for(story, "ActiveState", "inactive")
        ended = logged(story, since, "stopped")
        assert "wormkey.service: Deactivated successfully." in journal(story, since)
        took = datetime.fromisoformat(ended["time"]) - datetime.fromisoformat(begun["time"])
        assert DRAIN_S <= took.total_seconds() < DRAIN_S + SLACK_S


def test_a_configuration_that_cannot_be_used_is_not_tried_again(story: Story) -> None:
    """One start, one line in the journal; once it is repaired, it runs."""
    since = now(story)
    story.droplet.run(f"cp {CONFIG} /run/good.toml; echo 'holt = \"5s\"' >> {CONFIG}")
    story.droplet.run("systemctl restart wormkey", code=1)
    assert (shown(story, "ActiveState"), shown(story, "NRestarts")) == ("failed", "0")
    assert f"wormkeyd: {CONFIG}: unknown key 'holt'; did you mean 'hold'?" in journal(story, since)
    story.droplet.run(f"cp /run/good.toml {CONFIG}; systemctl restart wormkey")
    assert shown(story, "ActiveState") == "active"


def test_a_restart_behind_held_sockets_refuses_nobody(story: Story) -> None:
    """Systemd holds both sockets where it is asked to; who comes meanwhile waits."""
    story.droplet.run(f"{WORMKEYD} install --sockets")
    try:
        out = story.droplet.run("systemctl is-active wormkey.socket wormkey-control.socket")
        assert out.stdout.split() == ["active", "active"]
        ask = "curl -sS -o /dev/null --max-time 20 http://127.0.0.1:3002/health"
        script = f"""
            ( while ! test -e /run/droplet/asked; do {ask} || echo failed; done ) &
            for _ in 1 2 3; do systemctl restart wormkey; {ask} || echo failed; done
            touch /run/droplet/asked; wait"""
        before = shown(story, "MainPID")
        assert story.droplet.run(script).stdout == ""
        assert shown(story, "MainPID") != before
    finally:
        story.droplet.run(f"{WORMKEYD} uninstall && {WORMKEYD} install")


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

"""Containers that end, fail and are started again, while agents come and go."""

import time
from functools import partial

import pytest

from support.host import until
from support.podnet import Podnet
from support.sandboxes import ended, inside, leftovers, run, runs, sandbox, state, states

only_runc = pytest.mark.parametrize("podnet", ["runc"], indirect=True)


@only_runc
def test_nothing_is_left_of_what_run_made(podnet: Podnet) -> None:
    assert run(podnet, "--", "true")[0] == 0
    assert run(podnet, "--", "no-such-command")[0] == 127
    until(lambda: leftovers(podnet) == [], f"nothing left: {leftovers(podnet)}")


def test_nothing_is_left_of_containers_that_are_gone(podnet: Podnet) -> None:
    podnet.up(sandbox("one", {}, {}) + "\n---\n" + sandbox("two", {}))
    assert leftovers(podnet)
    podnet.run("delete", "podsandbox", "one", "two")
    until(lambda: leftovers(podnet) == [], f"nothing left: {leftovers(podnet)}")


def test_an_ended_container_leaves_its_log_and_exit_code_only(podnet: Podnet) -> None:
    command = ["sh", "-c", "echo said; exit 4"]
    podnet.apply(sandbox("done", {"command": command}, restartPolicy="Never"))
    until(lambda: ended(podnet, "done"), "its end")
    until(lambda: not podnet.host.run(["ls", "/run/podnet/containers"]).stdout, "no bundle")
    assert state(podnet, "done")["exitCode"] == 4
    assert podnet.run("logs", "done").stdout == "said\n"
    rest = " ".join(leftovers(podnet))
    assert "conmon" not in rest and "shim" not in rest and "rootfs" not in rest
    groups = podnet.host.run(["find", "/sys/fs/cgroup", "-path", "*/podnet/*", "-type", "d"])
    assert groups.stdout == ""


def test_what_fails_is_started_again_and_then_waits(podnet: Podnet) -> None:
    command = ["sh", "-c", "echo run; exit 1"]
    podnet.apply(sandbox("failing", {"command": command}, restartPolicy="OnFailure"))
    until(lambda: state(podnet, "failing")["restarts"] == 1 and ended(podnet, "failing"), "again")
    assert podnet.run("logs", "failing").stdout == "run\nrun\n"
    time.sleep(0.3)  # the back-off is 10 s: a third run would have been by now
    assert podnet.run("logs", "failing").stdout == "run\nrun\n"


@only_runc
def test_a_restarted_container_has_its_terminal_again(podnet: Podnet) -> None:
    script = "tty; exit 1"
    podnet.run(
        "run", "-dt", "--net=none", "--name=term", "--restart=on-failure", "sh", "-c", script
    )
    until(lambda: state(podnet, "term")["restarts"] == 1 and ended(podnet, "term"), "again")
    assert podnet.run("logs", "term").stdout.split() == ["/dev/pts/0", "/dev/pts/0"]


def test_many_at_once(podnet: Podnet) -> None:
    podnet.up("\n---\n".join(sandbox(f"many-{number}", {}) for number in range(20)))
    found = podnet.json("get", "podsandboxes")["items"]
    assert [each["status"]["containers"][0]["state"] for each in found] == ["running"] * 20
    podnet.run("delete", "podsandbox", *(f"many-{number}" for number in range(20)))
    until(lambda: leftovers(podnet) == [], f"nothing left: {leftovers(podnet)}")


def test_containers_outlive_the_agent_and_the_next_one_has_them(podnet: Podnet) -> None:
    """S9: killing the agent stops no container."""
    podnet.up(sandbox("kept", {}, {"command": ["sh", "-c", "sleep 1000; exit 6"]}))
    before = states(podnet, "kept")
    podnet.restart()
    until(lambda: [each["state"] for each in states(podnet, "kept")] == ["running"] * 2, "adoption")
    assert states(podnet, "kept") == before
    assert inside(podnet, "kept", "hostname") == "kept"
    podnet.host.run(["pkill", "-P", str(before[1]["pid"])])
    until(lambda: states(podnet, "kept")[1]["restarts"] == 1, "the new agent to notice the end")
    podnet.run("delete", "podsandbox", "kept")
    until(lambda: leftovers(podnet) == [], f"nothing left: {leftovers(podnet)}")


def test_what_ended_while_no_agent_ran_is_not_run_again(podnet: Podnet) -> None:
    command = ["sh", "-c", "echo run; sleep 1000; exit 5"]
    podnet.up(sandbox("once", {"command": command}, restartPolicy="Never"))
    pid = state(podnet, "once")["pid"]
    podnet.kill()
    podnet.host.run(["pkill", "-P", str(pid)])
    until(lambda: not podnet.host.path(f"/proc/{pid}").exists(), "its end")
    podnet.agent()
    until(lambda: ended(podnet, "once"), "what the new agent found")
    assert (state(podnet, "once")["exitCode"], state(podnet, "once")["restarts"]) == (5, 0)
    podnet.restart()
    until(lambda: podnet.json("get", "psb", "once")["status"]["phase"] == "Failed", "its end")
    assert podnet.run("logs", "once").stdout.count("run") == 1


def test_a_container_whose_watcher_is_killed_is_lost_and_goes(podnet: Podnet) -> None:
    podnet.up(sandbox("orphan", {}, restartPolicy="Never"))
    pid = state(podnet, "orphan")["pid"]
    podnet.host.run(["pkill", "-KILL", "^conmon|^containerd-shim"])
    until(lambda: ended(podnet, "orphan"), "that it is noticed")
    found = state(podnet, "orphan")
    assert (found["exitCode"], found["reason"]) == (137, "Lost")
    until(lambda: not podnet.host.path(f"/proc/{pid}").exists(), "the process to be gone")


def test_containers_of_a_sandbox_that_is_gone_are_removed(podnet: Podnet) -> None:
    podnet.up(sandbox("gone", {}))
    podnet.kill()
    podnet.host.python(
        "import sqlite3; store = sqlite3.connect('/run/podnet/store.db');"
        "store.execute('DELETE FROM object'); store.commit()"
    )
    podnet.agent()
    assert podnet.json("get", "podsandboxes")["items"] == []
    until(
        lambda: not [line for line in leftovers(podnet) if "netns" not in line],
        f"nothing left: {leftovers(podnet)}",
    )


def test_the_agent_can_be_killed_at_any_moment(podnet: Podnet) -> None:
    """S9: whatever it was about, the next one brings up what is wanted, once."""
    for number, seconds in enumerate((0.0, 0.01, 0.02, 0.04, 0.06)):
        name = f"moment-{number}"
        podnet.apply(sandbox(name, {"command": ["sh", "-c", "echo run; exec sleep 1000"]}))
        time.sleep(seconds)
        podnet.restart()
        until(partial(runs, podnet, name), "what is wanted", 10)
    podnet.run("delete", "podsandbox", *(f"moment-{number}" for number in range(5)))
    until(lambda: leftovers(podnet) == [], f"nothing left: {leftovers(podnet)}")

"""Container mode from beginning to end: a sandbox in another one's network namespace (S39)."""

from collections.abc import Iterator

import pytest

from support.bodies import FOREVER, Body, sandbox
from support.containerd import with_agent
from support.host import Host, HostError, until
from support.podnet import Podnet
from support.traffic import icmp, reach


@pytest.fixture(scope="module", params=["runc", "containerd"])
def machine(request: pytest.FixtureRequest) -> Iterator[Podnet]:
    """A machine with an agent, whose containers run by runc or by its containerd."""
    with Host("machine") as host:
        yield with_agent(host, request.param)


@pytest.fixture
def podnet(machine: Podnet) -> Iterator[Podnet]:
    """The same, with nothing on it."""
    yield machine
    machine.clear()


def joining(owner: str) -> Body:
    return {"mode": "Container", "sandbox": owner}


def pair(owner_mode: str = "Bridge") -> str:
    return sandbox("owner", FOREVER, net=owner_mode) + sandbox(
        "member", FOREVER, net=joining("owner")
    )


def netns_of(podnet: Podnet, name: str) -> str:
    """The namespace in which the sandbox's container really runs."""
    return podnet.inside(name, "readlink", "/proc/self/ns/net")


def pid(podnet: Podnet, name: str) -> int:
    """The container's process, None while it does not run."""
    (container,) = podnet.status(name)["containers"]
    number: int = container["pid"]
    return number


def ready(podnet: Podnet, *names: str) -> None:
    podnet.run("wait", "psb", *names, "--for=condition=Ready", "--timeout=10s")


@pytest.mark.parametrize("mode", ["Bridge", "None", "Host"])
def test_a_member_is_where_its_owner_is(mode: str, podnet: Podnet) -> None:
    podnet.up(pair(mode))
    assert netns_of(podnet, "member") == netns_of(podnet, "owner")
    assert podnet.status("member")["netns"] == podnet.status("owner")["netns"]
    assert podnet.status("member")["interfaces"] == []
    assert podnet.inside("member", "hostname") == podnet.inside("owner", "hostname")


def test_an_owner_needs_no_container_of_its_own(podnet: Podnet) -> None:
    podnet.up(sandbox("owner", hostname="empty") + sandbox("member", FOREVER, net=joining("owner")))
    assert podnet.inside("member", "hostname") == "empty"
    hosts = podnet.inside("member", "cat", "/etc/hosts").splitlines()
    assert hosts[-1] == f"{podnet.ip('owner')}\tempty"


def test_a_member_may_be_joined_itself(podnet: Podnet) -> None:
    """As with Docker: all are where the first one is, and go when it goes."""
    podnet.up(pair() + sandbox("third", FOREVER, net=joining("member")))
    assert netns_of(podnet, "third") == netns_of(podnet, "owner")
    assert podnet.inside("third", "hostname") == "owner"
    podnet.run("delete", "psb", "owner")
    for name in ("member", "third"):
        assert podnet.why_not(name) == (
            "PodSandbox/default/owner, whose network namespace is joined, does not exist: create it"
        )
    podnet.up(sandbox("owner", FOREVER))
    ready(podnet, "member", "third")
    assert netns_of(podnet, "third") == netns_of(podnet, "owner")


def test_those_that_wait_for_each_other_say_so(podnet: Podnet) -> None:
    podnet.apply(
        sandbox("chicken", FOREVER, net=joining("egg"))
        + sandbox("egg", FOREVER, net=joining("chicken"))
    )
    assert podnet.why_not("egg") == (
        "cannot join own network namespace: PodSandbox/default/chicken joins"
        " PodSandbox/default/egg, which waits for it: delete one of them"
    )


def test_who_joins_before_there_is_an_owner_waits_for_it(podnet: Podnet) -> None:
    podnet.apply(sandbox("member", FOREVER, net=joining("owner")))
    assert "does not exist: create it" in podnet.why_not("member")
    assert podnet.condition("member")["reason"] == "OwnerGone"
    podnet.up(sandbox("owner"))
    ready(podnet, "member")


def test_an_owner_that_ended_is_not_joined(podnet: Podnet) -> None:
    """Docker's sentence."""
    podnet.apply(sandbox("owner", ["true"], restartPolicy="Never"))
    podnet.run("wait", "psb/owner", "--for=jsonpath={.status.phase}=Succeeded")
    podnet.apply(sandbox("member", FOREVER, net=joining("owner")))
    assert podnet.why_not("member") == (
        "cannot join network namespace of a non running container: PodSandbox/default/owner is"
        " Succeeded"
    )


def test_a_container_that_starts_again_keeps_the_network(podnet: Podnet) -> None:
    """S39: address and namespace stay, members notice nothing."""
    podnet.up(pair())
    before, owner, member = podnet.status("owner"), pid(podnet, "owner"), pid(podnet, "member")
    podnet.host.run(["kill", "-KILL", str(owner)])
    until(lambda: podnet.status("owner")["containers"][0]["restarts"] == 1, "its restart")
    ready(podnet, "owner", "member")
    for key in ("netns", "podIPs", "interfaces"):
        assert podnet.status("owner")[key] == before[key]
    assert pid(podnet, "member") == member
    assert netns_of(podnet, "member") == netns_of(podnet, "owner")


def test_members_of_a_deleted_owner_end_and_say_why(podnet: Podnet) -> None:
    """S39: never a silently dead namespace; nothing of it is claimed to run."""
    podnet.up(pair())
    process = pid(podnet, "member")
    podnet.run("delete", "psb", "owner")
    assert podnet.why_not("member") == (
        "PodSandbox/default/owner, whose network namespace is joined, does not exist: create it"
    )
    assert not podnet.host.path(f"/proc/{process}").exists()
    status = podnet.status("member")
    assert (status["phase"], status.get("containers"), status.get("netns")) == (
        "Pending",
        None,
        None,
    )
    assert podnet.host.run(["ls", "/run/netns"]).stdout == ""
    done = podnet.run("exec", "member", "--", "true", check=False)
    assert (done.returncode, "does not run" in done.stderr) == (1, True)


def test_members_start_anew_where_the_next_owner_is(podnet: Podnet) -> None:
    podnet.up(pair())
    before, process = podnet.status("member")["netns"], pid(podnet, "member")
    podnet.run("delete", "psb", "owner")
    podnet.up(sandbox("owner", FOREVER))
    ready(podnet, "member")
    assert podnet.status("member")["netns"] == podnet.status("owner")["netns"] != before
    assert pid(podnet, "member") != process
    assert netns_of(podnet, "member") == netns_of(podnet, "owner")
    reach(podnet.place("member"), icmp("172.17.0.1"))


def test_a_namespace_made_anew_takes_its_members_along(podnet: Podnet) -> None:
    """Somebody ended the owner's processes and took its namespace away."""
    podnet.up(pair())
    before, process = podnet.status("owner")["netns"], pid(podnet, "member")
    name = before["path"].removeprefix("/run/netns/")
    podnet.host.run(["ip", "netns", "del", name])
    podnet.host.run(["kill", "-KILL", str(pid(podnet, "owner"))])
    until(lambda: podnet.status("owner")["netns"] != before, "another namespace", 10)
    until(lambda: podnet.status("member")["netns"] == podnet.status("owner")["netns"], "it joined")
    ready(podnet, "owner", "member")
    assert pid(podnet, "member") != process
    assert netns_of(podnet, "member") == netns_of(podnet, "owner")


def test_members_outlive_the_agent(podnet: Podnet) -> None:
    """S39 with a killed agent: the next one finds both as they were."""
    podnet.up(pair())
    processes = pid(podnet, "owner"), pid(podnet, "member")
    podnet.restart()
    ready(podnet, "owner", "member")
    assert (pid(podnet, "owner"), pid(podnet, "member")) == processes


def test_what_a_restart_of_both_finds_gone_is_joined_anew(podnet: Podnet) -> None:
    """The owner died while no agent ran: its namespace may not be the one of before."""
    podnet.up(pair())
    podnet.kill()
    path = podnet.host.run(["ls", "/run/netns"]).stdout.strip()
    podnet.host.run(["ip", "netns", "del", path])
    podnet.host.run(["pkill", "-KILL", "-f", "^sleep 1000"])
    podnet.agent()

    def together() -> bool:
        try:
            return netns_of(podnet, "member") == netns_of(podnet, "owner")
        except HostError:  # the status was of before, and the container has ended
            return False

    ready(podnet, "owner", "member")
    until(together, "both in one namespace")
    reach(podnet.place("member"), icmp("172.17.0.1"))

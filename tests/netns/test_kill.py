"""The agent is killed again and again, while sandboxes come and go and others are in use."""

import os
import random
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import pytest

from support.bodies import FOREVER, network, published, sandbox
from support.host import Host, until
from support.podnet import PROGRAM, Podnet
from support.sandboxes import leftovers
from support.traffic import Stream, serve, uninterrupted

ROUNDS = 25
PORT = 5000
BUSY = 1000.0
"""Milliseconds that the echo may wait for a processor: a way that is cut loses datagrams."""
KINDS = (
    lambda name, number: sandbox(name, FOREVER, net=published(8000 + number)),
    lambda name, number: sandbox(name, FOREVER, FOREVER, net={"podNetwork": "other"}),
    lambda name, number: sandbox(name, FOREVER, net="None"),
    lambda name, number: sandbox(name, net="Bridge"),
    lambda name, number: sandbox(name, FOREVER, net={"mode": "Container", "sandbox": "left"}),
)
"""What comes and goes, by the number of a sandbox."""
NAMES = [f"s{number}" for number in range(2 * len(KINDS))]
Answer = tuple[int, Any]


@dataclass
class Crowd:
    """Sandboxes that come and go, and what was asked for: the truth that the agent must follow."""

    podnet: Podnet
    chance: random.Random
    wanted: set[str] = field(default_factory=lambda: {"left", "right"})
    pids: dict[tuple[str, str], int] = field(default_factory=dict)
    """First process by sandbox and container, as it was when all was well last."""

    def ask(self, name: str, *, wanted: bool) -> bool:
        """Ask for the sandbox, or for its end; False when no answer came."""
        number = NAMES.index(name)
        try:
            if wanted:
                text = KINDS[number % len(KINDS)](name, number)
                body = {"sources": [{"name": name, "text": text}]}
                status, answer = self.podnet.request("POST", "/apply", body)
            else:
                path = f"/objects/podsandboxes/default/{name}?grace=0&wait=false"
                status, answer = self.podnet.request("DELETE", path)
        except OSError:
            return False
        assert status == 200 or (not wanted and status == 404), answer
        return True

    def change(self, kill_after: float) -> None:
        """Ask for changes, kill the agent in the middle; the next one is asked what got lost."""
        changes = {
            name: name not in self.wanted for name in self.chance.sample(NAMES, len(NAMES) // 2)
        }
        with ThreadPoolExecutor(len(changes)) as threads:
            asked = {
                name: threads.submit(self.ask, name, wanted=wanted)
                for name, wanted in changes.items()
            }
            time.sleep(kill_after)
            self.podnet.kill()
        self.podnet.agent()
        for name, wanted in changes.items():
            if not asked[name].result():
                assert self.ask(name, wanted=wanted), "the agent does not answer"
            (self.wanted.add if wanted else self.wanted.remove)(name)
            self.pids = {key: pid for key, pid in self.pids.items() if key[0] != name}

    def check(self) -> None:
        """What is wanted is there and right, with the processes it had; the rest is gone."""
        until(
            self.settled, f"{sorted(self.wanted)} and no others:\n{self.podnet.log()[-3000:]}", 20
        )
        pids = {}
        for body in self.bodies():
            name = body["metadata"]["name"]
            for each in body["status"]["containers"]:
                assert each["restarts"] == 0, (name, each)
                pids[name, each["name"]] = each["pid"]
            _, answer = self.podnet.request("GET", f"/explain/default/{name}")
            wrong = [line for line in answer["lines"] if line["verdict"] != "right"]
            assert not wrong, (name, wrong)
        assert self.pids.items() <= pids.items(), "a container was made anew"
        self.pids = pids
        until(lambda: not self.remains(), f"nothing left over: {self.remains()}")

    def bodies(self) -> list[Any]:
        status, answer = self.podnet.request("GET", "/objects/podsandboxes")
        assert status == 200, answer
        items: list[Any] = answer["items"]
        return items

    def settled(self) -> bool:
        """Whether those that are wanted, and no others, say that they are ready."""
        ready = {
            body["metadata"]["name"]: condition["status"] == "True"
            for body in self.bodies()
            for condition in body["status"].get("conditions", ())
            if condition["type"] == "Ready"
        }
        return set(ready) == self.wanted and all(ready.values())

    def remains(self) -> set[str]:
        """What is there of sandboxes, or missing, compared with what they say of themselves."""
        bodies, host = self.bodies(), self.podnet.host
        interfaces = [each for body in bodies for each in body["status"]["interfaces"]]
        ids = {body["status"]["sandboxID"] for body in bodies}
        bundles = {each["id"] for body in bodies for each in body["status"].get("containers", ())}
        pins = {
            f"podnet-{body['status']['sandboxID']}"
            for body in bodies
            if body["spec"]["network"].get("mode") != "Container"
        }
        with_files = {each.partition("-")[0] for each in bundles}
        return set().union(
            {name for name in host.links() if name.startswith("veth")}
            ^ {each["peer"]["name"] for each in interfaces},
            {path.name for path in host.path("/run/netns").iterdir()} ^ pins,
            {path.name for path in host.path("/run/podnet/containers").iterdir()} ^ bundles,
            {path.name for path in host.path("/run/podnet/runc").iterdir()} ^ bundles,
            {path.name for path in host.path("/run/podnet/sandboxes").iterdir()} ^ with_files,
            with_files - ids,
        )


@pytest.mark.timeout(150)
def test_an_agent_that_is_killed_again_and_again_loses_nothing_and_leaves_nothing(
    host: Host,
) -> None:
    """S3, S9: in the middle of whatever it is doing, and no packet of others is lost."""
    seed = int(os.environ.get("PODNET_SEED") or random.randrange(1 << 32))
    print(f"PODNET_SEED={seed}")
    links, rules = set(host.links()), host.nft_json()
    podnet = Podnet(host)
    podnet.agent()
    podnet.up(network("other") + sandbox("left", FOREVER) + sandbox("right", FOREVER))
    crowd = Crowd(podnet, random.Random(seed))
    crowd.check()
    right = podnet.place("right")
    with serve(right, PORT), Stream(podnet.place("left"), podnet.ip("right"), PORT) as stream:
        for _ in range(ROUNDS):
            crowd.change(crowd.chance.uniform(0.0, 0.4))
            crowd.check()
        uninterrupted(stream, BUSY)
    podnet.run("down")
    assert leftovers(podnet) == []
    assert (set(host.links()), host.nft_json()) == (links, rules)
    assert not host.path("/run/podnet").exists()
    assert list(host.path("/run/netns").iterdir()) == []


@pytest.mark.parametrize("left", [5, 2, 0], ids="{} sandboxes left".format)
def test_a_down_that_was_cut_off_is_finished_by_the_next(host: Host, left: int) -> None:
    """S3: no agent runs then, and one is started only to take all away."""
    pins = host.path("/run/netns")
    links, rules = set(host.links()), host.nft_json()
    podnet = Podnet(host)
    podnet.agent()
    names = [f"s{number}" for number in range(6)]
    podnet.up(network("other") + "".join(sandbox(name, FOREVER) for name in names))
    down = host.popen([PROGRAM, "down"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: len(list(pins.iterdir())) <= left, "`down` to be under way", 20)
    podnet.kill()
    down.wait(20)
    assert host.path("/run/podnet").exists(), "killed too late"
    podnet.run("down")
    assert leftovers(podnet) == []
    assert (set(host.links()), host.nft_json()) == (links, rules)
    assert not host.path("/run/podnet").exists()
    assert list(host.path("/run/netns").iterdir()) == []


def test_a_new_agent_looks_into_pods_at_once(host: Host) -> None:
    """A dead one may have been at work in there, and no event will tell."""
    podnet = Podnet(host)
    podnet.agent()
    podnet.up(sandbox("web"))
    address, netns = podnet.ip("web"), podnet.place("web").netns
    podnet.kill()
    host.run(["ip", "address", "flush", "dev", "eth0"], netns=netns)
    podnet.agent()
    until(
        lambda: address in str(host.ip_json("address", "show", "eth0", netns=netns)),
        f"{address} on eth0 again",
    )


def test_a_network_that_was_deleted_by_half_may_come_with_other_subnets(host: Host) -> None:
    """Killed between the object and what is recorded of it."""
    podnet = Podnet(host)
    podnet.agent()
    podnet.up(network("lab", subnets=["10.9.0.0/24"]))
    podnet.kill()
    host.python(
        "import sqlite3; store = sqlite3.connect('/run/podnet/store.db');"
        " assert store.execute(\"DELETE FROM object WHERE name = 'lab'\").rowcount == 1;"
        " store.commit()"
    )
    podnet.agent()
    podnet.up(network("lab", subnets=["10.10.0.0/24"]))
    assert podnet.json("get", "podnetwork", "lab")["status"]["subnets"] == ["10.10.0.0/24"]

"""Which orphans are named, and what is said to remove each."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from typing import Any

import pytest

from podnet.attachment import Attachment
from podnet.leaks import BY_ITSELF, BY_RUNTIME, Leak, leaks
from podnet.objects import Element, Endpoint, KernelObject, Netns, Route, Sysctl
from podnet.plan import Add, Change, Operation, Remove
from support import values
from support.values import V4, attachment

RUNTIMES = Netns("/run/netns/cni-1")


def pod(number: int = 26, name: str = "f00d", **fields: Any) -> Attachment:
    """What a runtime has attached."""
    given = {"netns": RUNTIMES, "cni": "podnet", "owner": "Pod/default/web"} | fields
    return attachment(number, name=name, **given)


@dataclass(frozen=True)
class Found:
    """What there is; `known`: the ids of the runtime's sandboxes."""

    begun: Sequence[Attachment] = ()
    strays: Sequence[Attachment] = ()
    ready: Sequence[Attachment] = ()
    operations: Sequence[Operation] = ()
    known: Collection[str] | None = frozenset({"f00d"})

    def leaks(self) -> list[Leak]:
        return list(leaks(self.begun, self.strays, self.ready, self.operations, self.known))


VETH = replace(values.VETH, pod_netns=RUNTIMES)
ELEMENT = Element(container="pn_any4", match="tcp . 8080", verdict="172.17.0.2 . 80")
ENDPOINT = Endpoint(address=ip_address("10.1.1.2"), host_end="vethpn1a")
ROUTE = Route(destination=V4, gateway=None, ifname="podnet0")
INSIDE = Route(netns=RUNTIMES, destination=V4, gateway=None, ifname="eth0")
SYSCTL = Sysctl(name="net/ipv4/ip_forward", value="1")
WEB = "eth0 of f00d (172.17.0.2)"


# --- attachments ---


def test_a_record_that_was_left_begun_is_the_agents_to_end() -> None:
    (leak,) = Found(begun=[pod()]).leaks()
    why = "was begun or given up, and that was not ended"
    assert leak == Leak("attachment", WEB, "Pod/default/web", why, BY_ITSELF)


def test_an_attachment_of_a_namespace_that_is_gone_is_the_runtimes_to_delete() -> None:
    """Once, though the runtime does not know it either."""
    (leak,) = Found(strays=[pod()], ready=[pod()], known=frozenset()).leaks()
    why = f"its network namespace {RUNTIMES} is gone"
    assert leak == Leak("attachment", WEB, "Pod/default/web", why, BY_RUNTIME)


def test_one_that_the_runtime_does_not_know_is_its_to_collect_or_somebodys_to_unmount() -> None:
    kept, lost = pod(26), pod(27, "beef", owner="Pod/default/lost")
    (leak,) = Found(ready=[kept, lost]).leaks()
    assert (leak.kind, leak.name) == ("attachment", "eth0 of beef (172.17.0.2)")
    assert (leak.owner, leak.why) == ("Pod/default/lost", "the runtime has no such sandbox")
    assert "GC by the runtime" in leak.removed_by
    assert f"`umount {RUNTIMES}`, then a restart of the agent" in leak.removed_by


def test_both_addresses_are_named() -> None:
    (leak,) = Found(begun=[attachment(1, "172.17.0.2/16", "fd00:17::2/64")]).leaks()
    assert leak.name == "eth0 of web (172.17.0.2, fd00:17::2)"


# --- the kernel ---


@pytest.mark.parametrize(
    ("what", "kind", "name"),
    [
        (VETH, "link", "vethpn1a"),
        (ELEMENT, "element", "pn_any4 tcp . 8080"),
        (ENDPOINT, "endpoint", "10.1.1.2"),
        (ROUTE, "route", "172.17.0.0/16"),
        (INSIDE, "route", f"{RUNTIMES}: 172.17.0.0/16"),
        (SYSCTL, "sysctl", "net/ipv4/ip_forward"),
    ],
    ids=["link", "nft element", "endpoint", "route", "route of a pod", "sysctl"],
)
def test_what_the_kernel_has_of_ours_and_nobody_wants_is_named(
    what: KernelObject, kind: str, name: str
) -> None:
    (leak,) = Found(operations=[Remove(what)]).leaks()
    why = "it bears podnet's mark and no record wants it"
    assert leak == Leak(kind, name, "", why, BY_ITSELF)


def test_all_that_is_wrong_is_said_at_once() -> None:
    begun, stray, lost = pod(1, "a"), pod(2, "b"), pod(3, "c")
    found = Found([begun], [stray], [stray, lost, pod(4)], [Remove(VETH), Remove(ELEMENT)])
    kinds = [leak.kind for leak in found.leaks()]
    assert kinds == ["attachment"] * 3 + ["link", "element"]
    assert all(leak.name and leak.why and leak.removed_by for leak in found.leaks())


# --- nothing wrong ---


@pytest.mark.parametrize(
    "found",
    [
        Found(),
        Found(ready=[pod()]),
        Found(ready=[pod(27, "beef")], known=None),
        Found(ready=[attachment(1, name="podnets-own")], known=frozenset()),
        Found(operations=[Add(VETH), Change(ELEMENT, ELEMENT)]),
    ],
    ids=[
        "nothing there",
        "known to the runtime",
        "a runtime that can't be asked",
        "a PodSandbox, which no runtime knows",
        "what is missing or changed",
    ],
)
def test_what_is_no_orphan_is_not_named(found: Found) -> None:
    assert found.leaks() == []

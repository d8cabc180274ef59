"""Ports that a runtime publishes: protocols, addresses of the node, both families."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from support.bodies import network
from support.host import Host
from support.runtime import Pod, Refused, Runtime, address_gateway, ports, started
from support.traffic import Place, blocked, reach, serve, tcp, udp

HERE, THERE, SIX = "192.0.2.1", "192.0.2.2", "2001:db8::1"
"""Addresses of the host beside its network's (RFC 5737 and 3849)."""


@pytest.fixture(scope="module")
def cni() -> Iterator[Runtime]:
    """A runtime whose network `dual` has both families, on a host of several addresses."""
    with Host("machine") as host:
        runtime = started(host)
        for each in (f"{HERE}/32", f"{THERE}/32", f"{SIX}/128"):
            host.run(["ip", "address", "add", each, "dev", "lo", "nodad"])
        runtime.podnet.apply(network("dual", subnets=["10.7.0.0/16", "fd07::/64"]))
        yield runtime


@pytest.fixture
def client(cni: Runtime) -> Iterator[tuple[Pod, str]]:
    """A Pod to ask from, and its gateway."""
    pod = cni.pod("client")
    gateway = address_gateway(cni.add(pod, podNetwork="dual"))
    yield pod, gateway
    cni.delete(pod)


def published(cni: Runtime, stack: ExitStack, name: str, **fields: str) -> Pod:
    """A Pod that answers with its name at port 8053 of the host."""
    pod = cni.pod(name)
    config = {"podNetwork": "dual", **ports((8053, 53), **fields)}
    cni.add(pod, **config)
    stack.callback(cni.delete, pod, **config)
    stack.enter_context(serve(pod.place, 53, name=name))
    return pod


def test_published_ports_lead_to_the_pod_until_it_goes(cni: Runtime) -> None:
    """S16, S17: one that is taken is refused with its holder; the next Pod has it at once."""
    first, second = cni.pod("first"), cni.pod("second")
    result = cni.add(first, **ports((8080, 80)))
    gateway = result["ips"][0]["gateway"]
    client = cni.pod("client")
    cni.add(client)
    with serve(first.place, 80, name="first"):
        assert reach(client.place, tcp(gateway, 8080)).server == "first"
        assert reach(Place(cni.host), tcp("127.0.0.1", 8080)).server == "first"
        assert reach(first.place, tcp(gateway, 8080)).server == "first"
        with pytest.raises(Refused, match="Pod/default/first") as raised:
            cni.add(second, **ports((8080, 80)))
        assert raised.value.code == 100
        assert second.interfaces() == {}
        cni.delete(first, **ports((8080, 80)))
        assert cni.elements("pn_any4") == []
    cni.add(second, **ports((8080, 80)))
    with serve(second.place, 80, name="second"):
        assert reach(client.place, tcp(gateway, 8080)).server == "second"
    cni.delete(first)
    assert len(cni.elements("pn_any4")) == 1
    cni.delete(second)
    cni.delete(client)


def test_a_port_that_a_program_has_is_refused(cni: Runtime) -> None:
    """S16."""
    taken = serve(Place(cni.host), 8081, name="program")
    with taken, pytest.raises(Refused, match="8081/tcp") as raised:
        cni.add(cni.pod(), **ports((8081, 80)))
    assert raised.value.code == 100
    assert cni.attachments() == []


def test_protocols_have_ports_of_their_own(cni: Runtime, client: tuple[Pod, str]) -> None:
    """S16: one number for TCP and UDP, each another Pod's; each goes with its Pod."""
    asking, gateway = client
    with ExitStack() as first:
        with ExitStack() as second:
            published(cni, first, "by-tcp", protocol="tcp")
            published(cni, second, "by-udp", protocol="udp")
            for place in (asking.place, Place(cni.host)):
                assert reach(place, tcp(gateway, 8053)).server == "by-tcp"
                assert reach(place, udp(gateway, 8053)).server == "by-udp"
            other = cni.pod("other")
            for protocol in ("tcp", "udp"):
                with pytest.raises(Refused, match=f"8053/{protocol}.*by-{protocol}") as raised:
                    cni.add(other, podNetwork="dual", **ports((8053, 53), protocol=protocol))
                assert raised.value.code == 100
            assert other.interfaces() == {}
        blocked(asking.place, udp(gateway, 8053), beside=tcp(gateway, 8053))


def test_addresses_of_the_node_have_ports_of_their_own(
    cni: Runtime, client: tuple[Pod, str]
) -> None:
    """S16: the same port and protocol at two addresses, each another Pod's."""
    asking, gateway = client
    with ExitStack() as stack:
        here = published(cni, stack, "here", hostIP=HERE)
        published(cni, stack, "there", hostIP=THERE)
        for place in (asking.place, Place(cni.host), here.place):
            assert reach(place, tcp(HERE, 8053)).server == "here"
            assert reach(place, tcp(THERE, 8053)).server == "there"
            blocked(place, tcp(gateway, 8053), beside=tcp(HERE, 8053))
        with pytest.raises(Refused, match="8053/tcp"):
            cni.add(cni.pod("other"), podNetwork="dual", **ports((8053, 53)))  # every address


def test_localhosts_port_is_nobody_elses(cni: Runtime, client: tuple[Pod, str]) -> None:
    asking, _ = client
    with ExitStack() as stack:
        published(cni, stack, "local", hostIP="127.0.0.1")
        published(cni, stack, "here", hostIP=HERE)
        assert reach(Place(cni.host), tcp("127.0.0.1", 8053)).server == "local"
        assert reach(asking.place, tcp(HERE, 8053)).server == "here"


def test_ports_are_published_to_ipv6_too(cni: Runtime, client: tuple[Pod, str]) -> None:
    asking, _ = client
    with ExitStack() as stack:
        published(cni, stack, "everywhere")
        assert reach(asking.place, tcp(SIX, 8053)).server == "everywhere"
        assert reach(asking.place, tcp(HERE, 8053)).server == "everywhere"
    with ExitStack() as stack:
        published(cni, stack, "six", hostIP=SIX, protocol="udp")
        assert reach(asking.place, udp(SIX, 8053)).server == "six"
        blocked(asking.place, tcp(SIX, 8053), beside=udp(SIX, 8053))
        blocked(asking.place, udp(HERE, 8053), beside=udp(SIX, 8053))

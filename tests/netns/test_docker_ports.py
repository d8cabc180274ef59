"""Published ports under Debian's dockerd and podnet: who reaches what, and is seen as whom."""

from collections.abc import Callable, Iterator

import pytest

from support.differences import as_podnet
from support.host import Host, until
from support.traffic import Answer, Outcome, Place, Target, ask, reachability, serve, tcp, udp
from support.twins import Twins
from support.wire import connect

PUBLISHED = ("8080:80", "127.0.0.1:8081:80", "192.0.2.1:8082:80")
NEAR, FAR, GATEWAY = "192.0.2.1", "192.0.2.2", "172.17.0.1"
NEAR6 = "2001:db8:0:2::1"


@pytest.fixture(scope="module")
def outsides(twins: Twins) -> Iterator[tuple[Host, Host]]:
    """A neighbour of each host on a cable, with a route to the containers."""
    with Host("outside") as first, Host("outside") as second:
        for host, outside in zip(twins.hosts, (first, second), strict=True):
            connect(host, outside)
            outside.run(["ip", "route", "add", "172.17.0.0/16", "via", NEAR])
        yield first, second


@pytest.fixture(scope="module")
def places(twins: Twins, outsides: tuple[Host, Host]) -> Iterator[list[dict[str, Place]]]:
    """Docker's and podnet's, with `web` that publishes and serves on 80 and 81."""
    words = [word for port in PUBLISHED for word in ("-p", port, "-p", f"{port}/udp")]
    twins.start("web", *words)
    twins.start("near")
    found = [
        {
            "outside": Place(outside),
            "host": Place(host),
            "near": Place(host, near),
            "itself": Place(host, web),
        }
        for host, outside, web, near in zip(
            twins.hosts, outsides, twins.netns("web"), twins.netns("near"), strict=True
        )
    ]
    try:
        with serve(found[0]["itself"], 80, 81), serve(found[1]["itself"], 80, 81):
            yield found
    finally:
        twins.remove("web", "near")


def targets(protocol: Callable[[str, int], Target], web: str) -> dict[str, Target]:
    """By name. `web` is published but for 81, which it serves too."""
    return {
        "host:8080": protocol(NEAR, 8080),
        "gateway:8080": protocol(GATEWAY, 8080),
        "loopback:8080": protocol("127.0.0.1", 8080),
        "v6:8080": protocol(NEAR6, 8080),
        "::1:8080": protocol("::1", 8080),
        "host:8081": protocol(NEAR, 8081),
        "loopback:8081": protocol("127.0.0.1", 8081),
        "host:8082": protocol(NEAR, 8082),
        "loopback:8082": protocol("127.0.0.1", 8082),
        "host:80": protocol(NEAR, 80),
        "web:80": protocol(web, 80),
        "web:81": protocol(web, 81),
    }


def address(place: Place) -> str:
    """Of the container's eth0."""
    (eth0,) = place.host.ip_json("-4", "address", "show", "eth0", netns=place.netns)
    return str(eth0["addr_info"][0]["local"])


def line(target: Target, answer: Answer, names: dict[str, str]) -> str:
    """How it ended, and whom the server saw.

    No UDP answer is one whether an ICMP error came or not: the kernel sends few to one address,
    and each redirect there (to the neighbour that a port led to) puts the next one off.
    """
    if not answer and target.protocol == "udp":
        return "no answer"
    seen = f", sees {names.get(answer.peer, answer.peer)}" if answer else ""
    return f"{answer.outcome}{seen}"


@pytest.mark.parametrize("protocol", [tcp, udp], ids=["tcp", "udp"])
def test_published_ports_are_reached_from_the_same_places(
    protocol: Callable[[str, int], Target], places: list[dict[str, Place]]
) -> None:
    texts = []
    for each in places:
        names = {address(each[name]): name for name in ("itself", "near")}
        web = next(ip for ip, name in names.items() if name == "itself")
        asked = targets(protocol, web)
        found = reachability(each, asked)
        texts.append(
            "".join(
                f"{place} {protocol.__name__} {target}: {line(asked[target], answer, names)}\n"
                for place, answers in found.items()
                for target, answer in answers.items()
            )
        )
    docker, podnet = texts
    assert podnet.splitlines() == as_podnet(docker, f"ports, {protocol.__name__}").splitlines()


@pytest.mark.parametrize("protocol", [tcp, udp], ids=["tcp", "udp"])
def test_the_outside_sees_the_host_and_neighbours_see_each_other(
    protocol: Callable[[str, int], Target],
    places: list[dict[str, Place]],
    outsides: tuple[Host, Host],
) -> None:
    for each, outside in zip(places, outsides, strict=True):
        with serve(Place(outside), 90):
            (answer,) = ask(each["near"], protocol(FAR, 90))
        assert (answer.outcome, answer.peer) == (Outcome.ANSWERED, NEAR)
        (answer,) = ask(each["near"], protocol(address(each["itself"]), 81))
        assert (answer.outcome, answer.peer) == (Outcome.ANSWERED, address(each["near"]))


def test_a_port_can_be_published_once(twins: Twins) -> None:
    """S16: also not while another program has it."""
    twins.start("first", "-p", "8090:80")
    for done in twins.run(["--rm", "-p", "8090:80"], "true"):
        assert (done.code, done.out) == (125, "")
        assert "8090" in done.err
    twins.remove("first")
    for done in twins.run(["--rm", "-p", "8090:80"], "true"):
        assert (done.code, done.err) == (0, "")
    listener = ["busybox", "nc", "-l", "-p", "8091"]
    listeners = [host.popen(listener) for host in twins.hosts]
    for host in twins.hosts:
        until(lambda host=host: "8091" in host.run(["ss", "-ltn"]).stdout, "the other program")
    for done in twins.run(["--rm", "-p", "8091:80"], "true"):
        assert (done.code, done.out) == (125, "")
        assert "8091" in done.err
    for process in listeners:
        process.kill()
        process.wait()


def test_published_ports_end_with_the_container(twins: Twins) -> None:
    twins.start("short", "-p", "8092:80")
    twins.remove("short")
    for host in twins.hosts:
        (answer,) = ask(Place(host), tcp("127.0.0.1", 8092))
        assert answer.outcome is Outcome.REFUSED

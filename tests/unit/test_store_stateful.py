"""The store against a model of it, in any order of changes, with crashes between them.

A crash is a copy of the files as they lie there, opened instead: what a killed agent leaves.
"""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
)

from podnet.addresses import at, gateway, host_numbers, mac_for
from podnet.attachment import Attachment, AttachRequest, PublishedPort
from podnet.desired import Sandboxed
from podnet.errors import PodNetError
from podnet.network import Network
from podnet_agent import claims
from podnet_agent.claims import QUARANTINE_SECONDS
from podnet_agent.store import Record, State, Store
from support.values import DUAL, NETWORK, request, sandboxed

V4, V6 = ip_network("10.1.0.0/29"), ip_network("fd00:1::/126")
NETWORKS = {
    "one": replace(NETWORK, name="one", pod_cidrs=(ip_network("fd00::/126"),)),
    "two": replace(DUAL, name="two", pod_cidrs=(V4, V6)),
}
"""Two host numbers each, so that they run out."""
HOST_IPS = (None, ip_address("192.0.2.1"), ip_address("2001:db8::1"))
MACS = (None, None, None, "02:00:00:00:00:07", mac_for(ip_address("10.1.0.3")))
PORTS = st.builds(
    PublishedPort,
    st.sampled_from([80, 81]),
    st.just(80),
    st.sampled_from(["tcp", "udp"]),
    st.sampled_from(HOST_IPS),
)


@st.composite
def requests(draw: st.DrawFn) -> AttachRequest:
    """Any attachment of a few sandboxes, often in the way of another one."""
    network = NETWORKS[draw(st.sampled_from(["one", "two"]))]
    fixed = [
        at(cidr, draw(st.sampled_from(list(host_numbers(network.pod_cidrs))))).ip
        for cidr in network.pod_cidrs
        if draw(st.integers(0, 2)) == 0
    ]
    return request(
        draw(st.sampled_from(["a", "b"])),
        network=network.name,
        ifname=draw(st.sampled_from(["eth0", "net1", "net2"])),
        addresses=tuple(fixed),
        mac=draw(st.sampled_from(MACS)),
        ports=tuple(draw(st.lists(PORTS, max_size=2, unique=True))),
    )


@dataclass
class Model:
    """What the store should know."""

    now: float = 1000.0
    records: dict[int, Record] = field(default_factory=dict)
    namespaces: dict[str, State] = field(default_factory=dict)
    hosts: dict[int, list[tuple[str, int]]] = field(default_factory=dict)
    """Host numbers by attachment, each with its network."""
    resting: dict[tuple[str, int], tuple[float, str]] = field(default_factory=dict)
    """Since when, and which sandbox had it."""

    def held(self, network: str) -> set[int]:
        """Host numbers of the network that an attachment has."""
        return {host for pairs in self.hosts.values() for name, host in pairs if name == network}

    def taken(self, network: str, sandbox_id: str) -> set[int]:
        """Host numbers of the network that this sandbox may not get now without asking."""
        edge = self.now - QUARANTINE_SECONDS
        return self.held(network) | {
            host
            for (name, host), (at, owner) in self.resting.items()
            if name == network and at > edge and owner != sandbox_id
        }

    def macs(self, network: str) -> set[str]:
        """MACs of the network that are in use, the bridge's too."""
        others = {
            record.attachment.mac
            for record in self.records.values()
            if record.attachment.request.network == network
        }
        return others | {mac_for(gateway(NETWORKS[network].pod_cidrs[0]))}

    def may(self, wanted: AttachRequest) -> bool:
        """Whether the request can be granted."""
        network = NETWORKS[wanted.network]
        held = [record.attachment.request for record in self.records.values()]
        if any(
            (each.sandbox_id, each.ifname) == (wanted.sandbox_id, wanted.ifname) for each in held
        ):
            return False
        if any(
            overlap(one, other) for each in held for one in each.ports for other in wanted.ports
        ):
            return False
        if any(overlap(*pair) for pair in pairs(wanted.ports)) or (
            wanted.mac in self.macs(wanted.network)
        ):
            return False
        free = set(host_numbers(network.pod_cidrs)) - self.taken(wanted.network, wanted.sandbox_id)
        if not wanted.addresses:
            return any(wanted.mac or self.mac_at(network, host) is not None for host in free)
        fixed = fixed_hosts(network, wanted)
        if not set(fixed.values()) <= set(host_numbers(network.pod_cidrs)) - self.held(
            network.name
        ):
            return False
        first = network.pod_cidrs[0]
        host = fixed.get(first.version, next(iter(fixed.values())))
        return bool(wanted.mac or self.mac_at(network, host))

    def mac_at(self, network: Network, host: int) -> str | None:
        """The MAC that goes with a host number, if it is free."""
        mac = mac_for(at(network.pod_cidrs[0], host).ip)
        return None if mac in self.macs(network.name) else mac


def fixed_hosts(network: Network, wanted: AttachRequest) -> dict[int, int]:
    """Host numbers by family."""
    cidrs = {cidr.version: cidr for cidr in network.pod_cidrs}
    return {
        address.version: int(address) - int(cidrs[address.version].network_address)
        for address in wanted.addresses
    }


def pairs(ports: tuple[PublishedPort, ...]) -> Iterator[tuple[PublishedPort, PublishedPort]]:
    for number, one in enumerate(ports):
        for other in ports[:number]:
            yield one, other


def overlap(one: PublishedPort, other: PublishedPort) -> bool:
    same = (one.protocol, one.host_port) == (other.protocol, other.host_port)
    return same and (one.host_ip == other.host_ip or None in (one.host_ip, other.host_ip))


class Stored(RuleBasedStateMachine):
    """One store, through every change it knows."""

    numbers = Bundle("numbers")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="store"))
        self.files = (self.folder / f"{number}.db" for number in count())
        self.path = next(self.files)
        self.store = Store(str(self.path))
        self.model = Model()
        self.given: set[int] = set()
        self.time, claims.time = claims.time, self  # type: ignore[assignment]

    def monotonic(self) -> float:
        return self.model.now

    def teardown(self) -> None:
        claims.time = self.time
        self.store.close()
        shutil.rmtree(self.folder)

    @rule(target=numbers, wanted=requests())
    def reserve(self, wanted: AttachRequest) -> Any:
        may = self.model.may(wanted)
        before = (
            self.model.held(wanted.network)
            if wanted.addresses
            else self.model.taken(wanted.network, wanted.sandbox_id)
        )
        try:
            made = self.store.reserve(NETWORKS[wanted.network], wanted)
        except PodNetError:
            assert not may, f"refused: {wanted}"
            return multiple()
        assert may, f"granted: {made}"
        hosts = self.hosts_of(made)
        assert made.request == wanted and not before & set(hosts)
        assert made.number > max(self.given, default=0)
        self.given.add(made.number)
        self.model.records[made.number] = Record(made, "adding")
        self.model.hosts[made.number] = [(wanted.network, host) for host in hosts]
        for host in hosts:
            self.model.resting.pop((wanted.network, host), None)
        return made.number

    def hosts_of(self, made: Attachment) -> set[int]:
        cidrs = NETWORKS[made.request.network].pod_cidrs
        found = {
            int(interface.ip) - int(cidr.network_address)
            for interface, cidr in zip(made.addresses, cidrs, strict=True)
        }
        assert found <= set(host_numbers(cidrs))
        return found

    @rule(number=numbers, along=st.booleans())
    def complete(self, number: int, along: bool) -> None:
        """With the namespace that was made along, or without."""
        sandbox = None
        if along and number in self.model.records:
            sandbox = self.model.records[number].attachment.request.sandbox_id
        self.store.complete(number, sandbox)
        self.set_state(number, "ready")
        if sandbox in self.model.namespaces:
            self.model.namespaces[sandbox] = "ready"

    @rule(number=numbers)
    def abandon(self, number: int) -> None:
        self.store.abandon(number)
        self.set_state(number, "removing")

    def set_state(self, number: int, state: State) -> None:
        if number in self.model.records:
            self.model.records[number] = replace(self.model.records[number], state=state)

    @rule(number=consumes(numbers))
    def release(self, number: int) -> None:
        for _ in range(2):
            self.store.release(number)
        record = self.model.records.pop(number, None)
        for pair in self.model.hosts.pop(number, ()):
            assert record is not None
            owner = record.attachment.request.sandbox_id
            self.model.resting[pair] = (self.model.now, owner)

    @rule(name=st.sampled_from(["a", "b"]), step=st.sampled_from(["add", "complete", "drop"]))
    def change_namespace(self, name: str, step: str) -> None:
        if step == "add":
            self.store.add_namespace(sandboxed(name))
            self.model.namespaces[name] = "adding"
        elif step == "complete":
            self.store.complete_namespace(name)
            if name in self.model.namespaces:
                self.model.namespaces[name] = "ready"
        else:
            self.store.drop_namespace(name)
            self.model.namespaces.pop(name, None)

    @rule(name=st.sampled_from(["a", "b"]))
    def condemn(self, name: str) -> None:
        self.store.condemn(name)
        for number, record in self.model.records.items():
            if record.attachment.request.sandbox_id == name:
                self.set_state(number, "removing")
        if name in self.model.namespaces:
            self.model.namespaces[name] = "removing"

    @rule(network=st.sampled_from(["one", "two"]))
    def forget_network_without_attachments(self, network: str) -> None:
        if not any(name == network for pairs in self.model.hosts.values() for name, _ in pairs):
            self.store.forget_network(network)
            self.model.resting = {
                pair: at for pair, at in self.model.resting.items() if pair[0] != network
            }

    @rule(seconds=st.sampled_from([QUARANTINE_SECONDS, QUARANTINE_SECONDS + 1]))
    def wait(self, seconds: int) -> None:
        self.model.now += seconds

    @rule()
    def crash(self) -> None:
        path = next(self.files)
        for suffix in ("", "-wal"):
            if Path(f"{self.path}{suffix}").exists():
                shutil.copy(f"{self.path}{suffix}", f"{path}{suffix}")
        self.store.close()
        self.path, self.store = path, Store(str(path))

    @rule(wanted=requests())
    def try_on_a_copy(self, wanted: AttachRequest) -> None:
        network = NETWORKS[wanted.network]
        with self.store.copy() as other:
            tried = outcome(other, network, wanted)
            with self.store.copy() as another:
                assert outcome(another, network, wanted) == tried

    @invariant()
    def it_knows_what_the_model_knows(self) -> None:
        records = self.store.records()
        assert records == tuple(self.model.records.values())
        for name in NETWORKS:
            held = {pair for pairs in self.model.hosts.values() for pair in pairs}
            assert self.store.usage(name) == len([pair for pair in held if pair[0] == name])
        states: dict[State, list[Sandboxed]] = {}
        for name, state in sorted(self.model.namespaces.items()):
            assert self.store.namespace_state(name) == state
            states.setdefault(state, []).append(sandboxed(name))
        for state in ("adding", "ready", "removing"):
            assert self.store.namespaces(state) == tuple(states.get(state, ()))

    @invariant()
    def nothing_is_given_out_twice(self) -> None:
        attachments = [record.attachment for record in self.store.records()]
        given = [
            (each.request.network, interface.ip)
            for each in attachments
            for interface in each.addresses
        ]
        assert len(given) == len(set(given))
        macs = [(each.request.network, each.mac) for each in attachments]
        assert len(macs) == len(set(macs))
        ports = tuple(port for each in attachments for port in each.request.ports)
        assert not [pair for pair in pairs(ports) if overlap(*pair)]
        ends = [each.host_end for each in attachments]
        assert len(ends) == len(set(ends))


def outcome(store: Store, network: Network, wanted: AttachRequest) -> Attachment | str:
    """What becomes of the request."""
    try:
        return store.reserve(network, wanted)
    except PodNetError as error:
        return str(error)


Stored.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestStored = Stored.TestCase

"""An agent that is killed at every step of what it does, and the next one that takes over.

    python -m support.crash SCENARIO        in a private host

For each step one process does what the scenario says and is killed (SIGKILL) before that step;
another one opens the same records, recovers and reconciles. What it then finds must be what was
there before or what was wanted, whole. It takes that away, and nothing of it may be left, nor of
all the rest at last.

Steps are the operations of plans one by one, what the store writes (a transaction is one), the
sweep, and the calls that pin a namespace. A send of rtnetlink is none of its own: the kernel
carries it out in the system call, so a signal comes before or after all of it.
"""

import importlib
import os
import pickle
import signal
import socket
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from podnet.attachment import PublishedPort
from podnet.errors import PodNetError
from podnet.network import Network
from podnet.objects import Netns
from podnet.plan import Operation
from podnet_agent import claims, namespaces, nft
from podnet_agent.database import Database
from podnet_agent.kernel import Kernel
from podnet_agent.paths import Paths
from support.node import Inside
from support.values import DUAL, NETWORK, NODE, netns, request

PATHS = Paths()
KEPT, NEW = "a" * 12, "b" * 12
"""Sandboxes: one that stands all the time, one that something happens to."""
PORTS = (
    PublishedPort(8080, 80),
    PublishedPort(5353, 53, "udp", ip_address("127.0.0.1")),
)
GIVEN = Netns("/run/cni-given")
"""A namespace that is not of podnet's making."""
SUBNET = ip_network("10.9.0.0/16")
OTHER = replace(NETWORK, name="other", bridge="pn-other", subnets=(SUBNET,), pod_cidrs=(SUBNET,))
FACTS = PATHS.run / "facts-of-kept"
IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
HIDDEN: Counter[str] = Counter()
"""What the machine has mounted below the host's own /run."""
WHOLE = 10_000
"""More steps than anything takes: nobody is killed."""


@dataclass(frozen=True)
class Scenario:
    """What is there, what is done, and the networks that the objects tell the next agent of."""

    before: Callable[[Inside], object]
    act: Callable[[Inside], object]
    networks: tuple[Network, ...] = (DUAL,)
    wanted: tuple[Network, ...] = (DUAL,)

    @property
    def has_kept(self) -> bool:
        """A network is not taken from a sandbox that uses it."""
        return bool(self.networks and self.wanted)


def _nothing(inside: Inside) -> None:
    pass


def _attach(**fields: Any) -> Callable[[Inside], object]:
    return lambda inside: inside.attach(NEW, "default", fields)


def _wire(inside: Inside) -> None:
    """A second interface, as `podnet attach` gives one."""
    inside.agent.attach(request(NEW, network="other", ifname="net1"))


def _attach_without_table(inside: Inside) -> None:
    """The last operations are refused, so all that was made is undone."""
    from podnet_agent.nft import Context

    Context().run("delete table inet podnet")
    with suppress(PodNetError):
        inside.attach(NEW, "default", {"ports": PORTS})


def _runtimes_namespace(inside: Inside) -> None:
    """A runtime has made it, and nobody of ours removes it."""
    if namespaces.cookie(GIVEN) is None:
        namespaces.make({"net": namespaces.CLONE_NEWNET}, {"net": Path(GIVEN)}, lambda: None)


def _add(inside: Inside) -> None:
    """What CNI's ADD does."""
    cookie = namespaces.cookie(GIVEN)
    assert cookie is not None
    given = request(NEW, netns=GIVEN, ports=PORTS, cni="podnet", netns_cookie=cookie)
    inside.agent.attach(given)


def _added(inside: Inside) -> None:
    _runtimes_namespace(inside)
    _add(inside)


def _two_interfaces(inside: Inside) -> None:
    inside.attach(NEW, "default", {"ports": PORTS})
    _wire(inside)


def _damaged(*commands: str) -> Callable[[Inside], None]:
    def act(inside: Inside) -> None:
        inside.attach(NEW, "default", {"ports": PORTS})
        (record,) = inside.agent.store.of_sandbox(NEW)
        for command in commands:
            words = command.format(veth=record.attachment.host_end)
            assert os.system(words) == 0, words

    return act


def _reconcile(inside: Inside) -> None:
    inside.reconcile(True)


def _to(*networks: Network) -> Callable[[Inside], object]:
    return lambda inside: inside.networks(networks, NODE)


CHANGED = replace(DUAL, bridge="pn-renamed", pod_mtu=1400, isolated=False, masquerade=False)
SCENARIOS = {
    "attach with its namespace": Scenario(_nothing, _attach()),
    "attach with ports, a fixed address and MAC": Scenario(
        _nothing,
        _attach(ports=PORTS, addresses=(ip_address("172.17.0.9"),), mac="02:00:00:00:00:07"),
    ),
    "attach with IPv4 alone": Scenario(_nothing, _attach(), (NETWORK,), (NETWORK,)),
    "attach to a namespace that is there": Scenario(_attach(), _wire, (DUAL, OTHER), (DUAL, OTHER)),
    "an attach that fails and is undone": Scenario(_nothing, _attach_without_table),
    "ADD of CNI": Scenario(_runtimes_namespace, _add),
    "DEL of CNI": Scenario(_added, lambda inside: inside.unwire(NEW)),
    "make a namespace": Scenario(_nothing, lambda inside: inside.make_namespace(NEW)),
    "detach": Scenario(_attach(ports=PORTS), lambda inside: inside.unwire(NEW)),
    "demolish": Scenario(
        _two_interfaces, lambda inside: inside.detach(NEW), (DUAL, OTHER), (DUAL, OTHER)
    ),
    "create a network": Scenario(_nothing, _to(DUAL, OTHER), (DUAL,), (DUAL, OTHER)),
    "create the first network": Scenario(_nothing, _to(DUAL), (), (DUAL,)),
    "change a network in use": Scenario(_nothing, _to(CHANGED), (DUAL,), (CHANGED,)),
    "remove a network": Scenario(_nothing, _to(DUAL), (DUAL, OTHER), (DUAL,)),
    "remove the last network": Scenario(_nothing, _to(), (DUAL,), ()),
    "repair a pair": Scenario(_damaged("ip link delete {veth}"), _reconcile),
    "repair all": Scenario(
        _damaged(
            "ip link delete podnet0",
            "nft delete table inet podnet",
            f"ip -n podnet-{NEW} link set lo down",
            f"ip -n podnet-{NEW} address flush dev eth0",
            "sysctl -qw net.ipv4.ip_forward=0",
        ),
        _reconcile,
    ),
}

State = frozenset[tuple[str, str]]
"""What is recorded: (sandbox, interface), and (sandbox, "") for a namespace of its own."""


class Steps:
    """Counts what changes something; the process is killed before the step of that number."""

    def __init__(self, last: int) -> None:
        self._left = last
        self.taken: list[str] = []

    def take(self, what: str) -> None:
        """One step, or the end."""
        if len(self.taken) == self._left:
            os.kill(os.getpid(), signal.SIGKILL)
        self.taken.append(what)

    def watch(self) -> None:
        """Every change from here on is counted."""
        apply, execute, sweep = Kernel.apply, Database.execute, Kernel.sweep
        bind_mount, unmount = namespaces.bind_mount, namespaces.unmount

        def apply_some(kernel: Kernel, operations: Sequence[Operation]) -> None:
            some = operations[: self._left - len(self.taken)]
            self.taken += [f"{type(each).__name__} {' '.join(each.what.key)}" for each in some]
            try:
                apply(kernel, some)
            finally:
                if len(some) < len(operations):
                    self.take("")

        def execute_some(database: Database, sql: str, values: Sequence[object] = ()) -> Any:
            inside = database._connection.in_transaction
            if sql.startswith("COMMIT" if inside else ("INSERT", "UPDATE", "DELETE")):
                self.take(sql)
            return execute(database, sql, values)

        def bind_mount_some(source: str, target: str) -> None:
            self.take(f"mount {target}")
            bind_mount(source, target)

        def unmount_some(target: str) -> None:
            self.take(f"unmount {target}")
            unmount(target)
            self.take(f"unlink {target}")

        def sweep_some(kernel: Kernel) -> None:
            self.take("sweep")
            sweep(kernel)

        Kernel.apply, Kernel.sweep = apply_some, sweep_some  # type: ignore[method-assign]
        Database.execute = execute_some  # type: ignore[method-assign]
        namespaces.bind_mount, namespaces.unmount = bind_mount_some, unmount_some


def live_and_die(scenario: Scenario, last: int) -> tuple[list[str], State, State]:
    """Stand, then act until killed; where it isn't, its steps, and the state before and after."""
    inside = Inside(str(PATHS.store))
    inside.networks(scenario.networks, NODE)
    if scenario.has_kept and inside.agent.store.find(KEPT, "eth0") is None:
        inside.attach(KEPT, "default", {"ports": (PublishedPort(81, 80),)})
    scenario.before(inside)
    before = state_of(inside)
    FACTS.write_text(repr(facts_of_kept()))
    steps = Steps(last)
    steps.watch()
    scenario.act(inside)
    return steps.taken, before, state_of(inside)


def take_over(scenario: Scenario, allowed: Sequence[State]) -> None:
    """The next agent: all is as its records say, nothing else is there, nothing was lost."""
    inside = Inside(str(PATHS.store))
    inside.agent.networks = {network.name: network for network in scenario.wanted}
    inside.agent.recover()
    inside.networks(scenario.wanted, NODE)
    assert state_of(inside) in allowed, f"half done: {sorted(state_of(inside))}"
    assert repr(facts_of_kept()) == FACTS.read_text(), f"another {KEPT}: {facts_of_kept()}"
    check(inside, scenario.wanted)
    inside.detach(NEW)
    inside.networks(scenario.networks, NODE)
    check(inside, scenario.networks)


def end() -> None:
    """Nothing is left of anything."""
    inside = Inside(str(PATHS.store))
    inside.detach(KEPT)
    inside.networks((), NODE)
    assert state_of(inside) == frozenset()
    check(inside, ())
    assert IP_FORWARD.read_text() == "0\n", "ip_forward was not given back"


def state_of(inside: Inside) -> State:
    store = inside.agent.store
    requests = [record.attachment.request for record in store.records()]
    return frozenset(
        [(each.sandbox_id, each.ifname) for each in requests]
        + [(each.sandbox_id, "") for each in store.namespaces()]
    )


def facts_of_kept() -> tuple[int, int] | None:
    """Which namespace, and which interface in it, the sandbox has that nothing happens to."""
    try:
        with namespaces.entered(netns(KEPT)):
            return os.stat(netns(KEPT)).st_ino, socket.if_nametoindex("eth0")
    except FileNotFoundError:
        return None


def check(inside: Inside, networks: Sequence[Network]) -> None:
    """The kernel has what the records say and the networks need, and no more; claims neither."""
    store = inside.agent.store
    states = {record.state for record in store.records()}
    assert states <= {"ready"} and store.namespaces() == store.namespaces("ready"), states
    todo = inside.plan(True)
    assert not todo.operations and not todo.conflicts, f"still to do: {todo}"

    records = {record.attachment.number: record.attachment for record in store.records()}
    links = {network.bridge for network in networks}
    links |= {attachment.host_end for attachment in records.values()}
    found = {name for _, name in socket.if_nameindex()} - {"lo"}
    assert found == links, f"links {found}, should be {links}"
    pins = {each.path for each in store.namespaces()}
    found = {str(path) for path in PATHS.netns_folder.iterdir()}
    assert found == pins, f"pins {found}, should be {pins}"
    mounted = mounts() - HIDDEN
    assert mounted == Counter(pins), f"mounted {mounted}, should be {pins}"

    for table, where in ("port", ""), ("mac", ""), ("address", "WHERE released IS NULL"):
        rows = store._db.execute(f"SELECT number FROM {table} {where}")
        assert {number for (number,) in rows} <= set(records), f"{table} of nobody"
    held = {number for number, attachment in records.items() if attachment.request.ports}
    assert set(inside.agent.ports._held) == held, f"ports of {inside.agent.ports._held}"


def mounts() -> Counter[str]:
    """Where namespaces are pinned, and how often."""
    with open("/proc/self/mounts") as file:
        return Counter(where for line in file if "/run/netns/" in (where := line.split()[1]))


def apart(function: Callable[..., Any], *args: Any) -> Any:
    """What the function returns in a process of its own; None when that was killed."""
    answer, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            result = pickle.dumps((function(*args), ""))
        except BaseException:  # noqa: BLE001 (whatever it is, it is told)
            result = pickle.dumps((None, traceback.format_exc()))
        os.write(tell, result)
        os._exit(0)
    os.close(tell)
    with open(answer, "rb") as file:
        told = file.read()
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL and not told
        return None
    result, error = pickle.loads(told)
    if error:
        sys.exit(error)
    return result


def main(name: str) -> None:
    """Die at every step; print how many there were."""
    for module in ("agent", "events", "forward", "looking", "ports", "store"):
        importlib.import_module(f"podnet_agent.{module}")  # here, not in every process
    IP_FORWARD.write_text("0")
    HIDDEN.update(mounts())
    claims.QUARANTINE_SECONDS = 0
    namespaces.shared_folder(PATHS.netns_folder)
    reference = nft._freshly_loaded()
    nft._freshly_loaded = lambda: reference
    scenario = SCENARIOS[name]
    steps, before, after = apart(live_and_die, scenario, WHOLE)
    apart(take_over, scenario, [after])
    for last in range(len(steps)):
        killed = apart(live_and_die, scenario, last)
        assert killed is None, f"not killed before {steps[last]}"
        print(f"killed before step {last} of {len(steps)}: {steps[last]}", file=sys.stderr)
        apart(take_over, scenario, [before, after])
    apart(end)
    print(len(steps))


if __name__ == "__main__":
    main(sys.argv[1])

"""Sandbox: a PodSandbox with every default decided, and the texts its containers share. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from podnet.addresses import IPAddress
from podnet.attachment import Protocol, PublishedPort

if TYPE_CHECKING:
    from podnet.api.container import Container
    from podnet.api.podsandbox import PodSandbox
    from podnet.api.sandboxnetwork import Port

Mode = Literal["Bridge", "None", "Host", "Container"]
RestartPolicy = Literal["Always", "OnFailure", "Never"]


@dataclass(frozen=True, slots=True)
class Mount:
    """A bind mount from the machine."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """What one container is to be; the limits are None where there are none."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    working_dir: str | None = None
    mounts: tuple[Mount, ...] = ()
    user: str | None = None
    read_only_root: bool = False
    millicpus: int | None = None
    memory_bytes: int | None = None
    pids: int | None = None


@dataclass(frozen=True, slots=True)
class HostAlias:
    """A line of /etc/hosts."""

    ip: IPAddress
    hostnames: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dns:
    """What resolv.conf says instead of the machine's; empty parts are the machine's."""

    nameservers: tuple[IPAddress, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Resolved at every look at the object; equal as long as the object's spec is."""

    id: str
    name: str
    namespace: str
    owner: str  # "PodSandbox/default/web": the first words of every cause
    mode: Mode
    network: str  # Bridge: the PodNetwork's name
    joins: str | None  # Container: the sandbox whose namespace is joined
    addresses: tuple[IPAddress, ...]
    mac: str | None
    ports: tuple[PublishedPort, ...]
    hostname: str | None  # None: the node's own, or the joined sandbox's
    dns: Dns
    host_aliases: tuple[HostAlias, ...]
    restart_policy: RestartPolicy
    containers: tuple[ContainerSpec, ...]


def resolve(podsandbox: "PodSandbox", sandbox_id: str) -> Sandbox:
    """The sandbox that the object asks for, under that id."""
    meta, spec = podsandbox.metadata, podsandbox.spec
    network, dns = spec.network, spec.dns
    own = network.mode in ("Bridge", "None")
    return Sandbox(
        id=sandbox_id,
        name=meta.name,
        namespace=meta.namespace,
        owner=f"PodSandbox/{meta.namespace}/{meta.name}",
        mode=network.mode,
        network=network.pod_network or "default",
        joins=network.sandbox,
        addresses=tuple(network.addresses),
        mac=network.mac,
        ports=tuple(_port(port) for port in network.ports) if network.mode == "Bridge" else (),
        hostname=spec.hostname or (meta.name[:63].rstrip(".-") if own else None),
        dns=Dns(
            tuple(dns.nameservers),
            tuple(dns.searches),
            tuple(
                option.name if option.value is None else f"{option.name}:{option.value}"
                for option in dns.options
            ),
        )
        if dns
        else Dns(),
        host_aliases=tuple(
            HostAlias(alias.ip, tuple(alias.hostnames)) for alias in spec.host_aliases
        ),
        restart_policy=spec.restart_policy,
        containers=tuple(_container(container) for container in spec.containers),
    )


def _port(port: "Port") -> PublishedPort:
    protocol: Protocol = "udp" if port.protocol == "UDP" else "tcp"
    return PublishedPort(port.host_port, port.container_port, protocol, port.host_ip)


def _container(container: "Container") -> ContainerSpec:
    limits = container.resources.limits if container.resources else None
    return ContainerSpec(
        name=container.name,
        image=container.image,
        command=tuple(container.command),
        args=tuple(container.args),
        env=tuple((variable.name, variable.value) for variable in container.env),
        working_dir=container.working_dir,
        mounts=tuple(
            Mount(mount.source, mount.target, mount.read_only) for mount in container.mounts
        ),
        user=container.user,
        read_only_root=container.read_only_root_filesystem,
        millicpus=limits.millicpus if limits else None,
        memory_bytes=limits.memory_bytes if limits else None,
        pids=limits.pids if limits else None,
    )


LOCAL_NAMES = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
"""The lines every hosts file of Docker's begins with (moby, libnetwork/etchosts)."""
FALLBACK_NAMESERVERS = {
    4: ("8.8.8.8", "8.8.4.4"),
    6: ("2001:4860:4860::8888", "2001:4860:4860::8844"),
}
"""Where the machine names none but itself: Docker's (moby, libnetwork/resolvconf)."""


def hosts_text(
    aliases: Sequence[HostAlias], addresses: Sequence[IPAddress], hostname: str, *, ipv6: bool
) -> str:
    """/etc/hosts of a sandbox with a namespace of its own, in Docker's order; tabs between.

    A hostname with dots is followed by its first label. Without IPv6 in the namespace the lines
    with IPv6 addresses are left out.
    """
    names = f"{hostname} {hostname.split('.')[0]}" if "." in hostname else hostname
    lines = [*LOCAL_NAMES]
    lines += [(str(alias.ip), " ".join(alias.hostnames)) for alias in aliases]
    lines += [(str(address), names) for address in addresses]
    return "".join(f"{ip}\t{names}\n" for ip, names in lines if ipv6 or ":" not in ip)


def with_aliases(hosts: str, aliases: Sequence[HostAlias]) -> str:
    """The machine's own hosts file, as host mode has it, with the sandbox's lines behind.

    So the kubelet does it; Docker drops the machine's lines as soon as there is one of these.
    """
    if hosts and not hosts.endswith("\n"):
        hosts += "\n"
    return hosts + "".join(f"{alias.ip}\t{' '.join(alias.hostnames)}\n" for alias in aliases)


def resolv_text(machine: str, dns: Dns, families: Sequence[int], *, loopback: bool) -> str:
    """resolv.conf from the machine's, with what the sandbox says instead.

    `loopback`: the machine's own loopback can be reached (host mode), so its file serves as it is.
    Elsewhere nameservers there are left out, and IPv6 ones where `families` has no 6; where none
    remains, Docker's public ones stand.
    """
    if loopback and dns == Dns():
        return machine
    found = _directives(machine)
    servers = [str(server) for server in dns.nameservers]
    if not servers:
        servers = [each for each in found.servers if loopback or _reachable(each, families)]
        if not servers and not loopback:
            wanted = (4, 6) if 6 in families else (4,)
            servers = [server for family in wanted for server in FALLBACK_NAMESERVERS[family]]
    lines = [f"nameserver {server}" for server in servers]
    searches = [each for each in dns.searches or found.searches if each != "."]
    options = dns.options or found.options
    if searches:
        lines.append(f"search {' '.join(searches)}")
    if options:
        lines.append(f"options {' '.join(options)}")
    return "".join(f"{line}\n" for line in (*lines, *found.others))


def as_of_namespace(resolv: str, own: str, namespace: str) -> str:
    """A Pod's resolv.conf as it would be in another namespace.

    There the kubelet lets NAMESPACE.svc.DOMAIN be searched first (kubelet, dns.go).
    """
    lines = []
    for line in resolv.splitlines(keepends=True):
        if line.split()[:1] == ["search"]:
            line = line.replace(f" {own}.svc.", f" {namespace}.svc.")
        lines.append(line)
    return "".join(lines)


class _Directives(NamedTuple):
    """What a resolv.conf says (resolv.conf(5))."""

    servers: list[str]
    searches: list[str]
    options: list[str]
    others: list[str]  # lines


def _directives(text: str) -> _Directives:
    """The last search list counts, options add up; comments are left out."""
    found = _Directives([], [], [], [])
    for line in text.splitlines():
        match line.split():
            case []:
                pass
            case [word, *_] if word[0] in "#;":
                pass
            case ["nameserver", *words]:
                found.servers.extend(words[:1])
            case ["search" | "domain", *words]:
                found.searches[:] = words or found.searches
            case ["options", *words]:
                found.options.extend(words)
            case _:
                found.others.append(line)
    return found


def _reachable(server: str, families: Sequence[int]) -> bool:
    """Whether a namespace with addresses of these families can ask the machine's nameserver.

    It can't use the machine's loopback, nor a link-local address on an interface of the machine.
    """
    if ":" in server:
        return 6 in families and server != "::1" and "%" not in server
    return not server.startswith("127.")

"""`explain`'s screen: how a sandbox is wired, and each kernel object with its cause and command."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_interface
from typing import Any

from podnet_cli.screen import BOLD, CYAN, DIM, GREEN, RED, paint
from podnet_cli.tables import NONE, standing

Body = dict[str, Any]
DOCKER_MAC = "02:42"
"""What a MAC that follows from an IPv4 address begins with; the address's four bytes follow."""


def screen(body: Body, neighbours: Sequence[Body]) -> Iterator[str]:
    """All of it, line by line."""
    sandbox, lines = body["sandbox"], body["lines"]
    yield from _heading(sandbox)
    for interface in sandbox.get("status", {}).get("interfaces", ()):
        yield ""
        yield from _wiring(interface, lines, neighbours)
    if lines:
        yield ""
    for line in lines:
        yield from _object(line)


def _heading(sandbox: Body) -> Iterator[str]:
    meta, network = sandbox["metadata"], sandbox["spec"].get("network") or {}
    status = sandbox.get("status", {})
    mode = network.get("mode", "Bridge")
    how = {
        "Bridge": f"Bridge mode, PodNetwork {network.get('podNetwork', 'default')}",
        "None": "None mode: a network namespace with lo and nothing else",
        "Host": "Host mode: the machine's own network namespace, so nothing of it is podnet's",
        "Container": f"Container mode: in the network namespace of {network.get('sandbox')},"
        f" whose objects `podnet explain {network.get('sandbox')}` shows",
    }[mode]
    name = f"{meta['namespace']}/{meta['name']}"
    title = f"{sandbox.get('kind', 'PodSandbox')} {name.removeprefix('/')}"
    yield f"{paint(title, BOLD)}  {standing(sandbox)}, {how}"
    netns = status.get("netns", {})
    if netns:
        yield f"netns {netns['path']}, inode {netns.get('inode')}"


def _wiring(interface: Body, lines: Sequence[Body], neighbours: Sequence[Body]) -> Iterator[str]:
    """One veth pair, both ends by name and index, and the bridge it is plugged into."""
    name, index = interface["name"], interface.get("ifindex")
    peer = interface.get("peer") or {}
    host_end, peer_index = peer.get("name", NONE), peer.get("ifindex")
    inside = f"{name}@if{peer_index} ({index})"
    outside = f"{host_end}@if{index} ({peer_index})"
    bridge = interface.get("bridge") or NONE
    pad = " " * len(inside)
    yield f"  {paint(inside, CYAN)} --- {paint(outside, CYAN)} in {paint(bridge, CYAN)}"
    addresses = interface.get("addresses", ())
    for address in addresses:
        yield f"  {pad}  address {address}"
    yield f"  {pad}  MAC     {interface.get('mac')}{_why_mac(interface.get('mac', ''), addresses)}"
    yield f"  {pad}  MTU     {interface.get('mtu')}"
    for line in lines:
        if line["kind"] == "route" and line["what"].get("ifname") == name:
            via = line["what"].get("gateway")
            yield f"  {pad}  route   {line['what']['destination']}{f' via {via}' if via else ''}"
    ports = [
        f"{peer['name']} ({each['metadata']['name']})"
        for each in neighbours
        for other in each.get("status", {}).get("interfaces", ())
        if other.get("bridge") == bridge and (peer := other.get("peer") or {}).get("name")
    ]
    yield f"  {pad}  {bridge}'s ports: {', '.join(ports) or NONE}"


def _why_mac(mac: str, addresses: Sequence[str]) -> str:
    """How the MAC follows from an address, where it does."""
    for address in addresses:
        interface = ip_interface(address)
        if interface.version == 4:
            digits = ":".join(f"{byte:02x}" for byte in interface.ip.packed)
            if mac == f"{DOCKER_MAC}:{digits}":
                return f" = {DOCKER_MAC} and {interface.ip} in hexadecimal"
    return ""


def _object(line: Body) -> Iterator[str]:
    """Whether it is right, what it is, who wants it, and the command for it."""
    right = line["verdict"] == "right"
    mark = paint("✔", GREEN) if right else paint("✘", RED)
    cause = paint(f"<- {line['cause']}", DIM)
    yield f"{mark} {described(line)}{_wrong(line)}  {cause}"
    for command in line["commands"]:
        yield f"    {paint(command, DIM)}"


def described(line: Body) -> str:
    """The object in a few words, with its interface index where it has one."""
    what = line["what"]
    index = f" ({line['ifindex']})" if line.get("ifindex") else ""
    match line["kind"]:
        case "link" if "host_end" in what:
            pair = f"{what['host_end']}@if{line.get('peerIfindex')}{index}"
            return f"veth {pair}, port of {what['bridge']}, MTU {what['mtu']}"
        case "link":
            return f"bridge {what['name']}{index}, MAC {what['mac']}, MTU {what['mtu']}"
        case "namespace":
            return f"namespace {what['path']}"
        case "address":
            return f"address {what['interface']} on {what['ifname']}"
        case "interface":
            own = "".join(f", {key.upper()} {what[key]}" for key in ("mac", "mtu") if what[key])
            return f"interface {what['ifname']}{index} up{own}"
        case "route":
            via = f" via {what['gateway']}" if what["gateway"] else ""
            return f"route {what['destination']}{via} dev {what['ifname']}"
        case "sysctl":
            return f"sysctl {what['name']} = {what['value']}"
        case "element":
            verdict = f" : {what['verdict']}" if what["verdict"] else ""
            return f"nft {what['container']} {{ {what['match']}{verdict} }}"
        case kind:
            return f"{kind} {line['name']}"


def _wrong(line: Body) -> str:
    """What is not as it should be."""
    found = line.get("found") or {}
    if line["verdict"] == "differs":
        fields = [
            f"{key} is {value}"
            for key, value in found.items()
            if key in line["what"] and line["what"][key] != value
        ]
        return paint(f": {', '.join(fields) or 'differs'}", RED)
    if line["verdict"] == "foreign":
        return paint(f": not podnet's ({found.get('foreign', 'somebody else made it')})", RED)
    return "" if line["verdict"] == "right" else paint(f": {line['verdict']}", RED)


def mermaid(body: Body) -> Iterator[str]:
    """The wiring as a Mermaid flowchart."""
    sandbox = body["sandbox"]
    name = sandbox["metadata"]["name"]
    yield "flowchart LR"
    yield f'  subgraph pod["{name}"]'
    interfaces = sandbox.get("status", {}).get("interfaces", ())
    for number, each in enumerate(interfaces):
        facts = "<br/>".join([*each.get("addresses", ()), each.get("mac", "")])
        yield f'    p{number}["{each["name"]} ({each.get("ifindex")})<br/>{facts}"]'
    yield "  end"
    for number, each in enumerate(interfaces):
        peer = each.get("peer") or {}
        yield f'  p{number} --- h{number}["{peer.get("name")} ({peer.get("ifindex")})"]'
        yield f'  h{number} --- {each.get("bridge")}(("{each.get("bridge")}"))'

"""A container runtime as CNI sees it: namespaces, calls of the plugin, what they answered.

The calls go to the agent's socket as the shim sends them.
"""

import base64
import json
import re
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.host import Host, until
from support.leaks import RESULTS
from support.podnet import SOCKET, Podnet
from support.traffic import Place

Body = dict[str, Any]
CONFIG: Mapping[str, Any] = {"cniVersion": "1.1.0", "name": "podnet", "type": "podnet-cni"}
QUEUE = "/run/podnet/cni"
SANDBOX = {
    "apiVersion": "podnet.dev/v1alpha1",
    "kind": "PodSandbox",
    "metadata": {"name": "other"},
    "spec": {"containers": [{"name": "c0", "image": "host", "command": ["sleep", "1000"]}]},
}
"""A PodSandbox beside the runtime's Pods."""


class Refused(Exception):
    """The plugin's error, as its code and sentences."""

    def __init__(self, body: Body) -> None:
        super().__init__(f"{body['code']} {body['msg']}: {body['details']}")
        self.body = body
        self.code: int = body["code"]


@dataclass(frozen=True)
class Pod:
    """A sandbox of a Pod: its namespace is there, and nobody's container."""

    host: Host
    name: str
    container_id: str
    ifname: str = "eth0"
    namespace: str = "default"

    @property
    def netns(self) -> str:
        """As containerd names it."""
        return f"/var/run/netns/cni-{self.container_id}"

    @property
    def place(self) -> Place:
        """Where its traffic begins and ends."""
        return Place(self.host, self.netns)

    @property
    def args(self) -> str:
        """CNI_ARGS, as containerd has them."""
        return (
            f"IgnoreUnknown=1;K8S_POD_NAMESPACE={self.namespace};K8S_POD_NAME={self.name};"
            f"K8S_POD_INFRA_CONTAINER_ID={self.container_id};K8S_POD_UID=uid-of-{self.name}"
        )

    def environment(self, verb: str, programs: str = "/usr/lib/cni") -> dict[str, str]:
        """What a plugin is started with for it."""
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self.container_id,
            "CNI_NETNS": self.netns,
            "CNI_IFNAME": self.ifname,
            "CNI_ARGS": self.args,
            "CNI_PATH": programs,
        }

    def interfaces(self) -> dict[str, Body]:
        """Its links by name, with addresses, but for lo; none where the namespace is gone."""
        if not self.host.path(self.netns.removeprefix("/var")).exists():
            return {}
        found = self.host.ip_json("address", netns=self.netns)
        return {link["ifname"]: link for link in found if link["ifname"] != "lo"}


@dataclass
class Runtime:
    """The kubelet's, on a host that has an agent."""

    podnet: Podnet
    config: Body = field(default_factory=lambda: dict(CONFIG))
    made: int = 0

    @property
    def host(self) -> Host:
        """Where all happens."""
        return self.podnet.host

    def pod(self, name: str = "web", **fields: Any) -> Pod:
        """A new sandbox of a Pod; its namespace is made."""
        self.made += 1
        pod = Pod(self.host, name, f"{self.made:04x}{'f00d' * 15}", **fields)
        self.host.run(["ip", "netns", "add", f"cni-{pod.container_id}"])
        return pod

    def pods(self, count: int) -> list[Pod]:
        """Many, at the cost of one."""
        pods = [
            Pod(self.host, f"pod-{number}", f"{self.made + number:04x}{'f00d' * 15}")
            for number in range(1, count + 1)
        ]
        self.made += count
        lines = "".join(f"netns add cni-{pod.container_id}\n" for pod in pods)
        self.host.run(["ip", "-batch", "-"], input=lines)
        return pods

    def end(self, *pods: Pod) -> None:
        """Their namespaces go."""
        lines = "".join(f"netns delete cni-{pod.container_id}\n" for pod in pods)
        self.host.run(["ip", "-batch", "-"], input=lines)

    def add(self, pod: Pod, **config: Any) -> Body:
        """ADD: the result; Refused."""
        result = self.call("ADD", pod, **config)
        assert result is not None
        return result

    def delete(self, pod: Pod, **config: Any) -> None:
        """DEL; Refused."""
        assert self.call("DEL", pod, **config) is None

    def remember(self, pod: Pod, result: Body) -> None:
        """Write down what ADD answered, as libcni does for its runtime."""
        conflist = json.dumps({**self.config, "plugins": [dict(self.config)]}).encode()
        body = {
            "kind": "cniCacheV1",
            "containerId": pod.container_id,
            "config": base64.b64encode(conflist).decode(),
            "ifName": pod.ifname,
            "networkName": self.config["name"],
            "cniArgs": [word.split("=") for word in pod.args.split(";")],
            "result": result,
        }
        folder = self.host.path(RESULTS)
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.config['name']}-{pod.container_id}-{pod.ifname}"
        file.write_text(json.dumps(body))

    def check(self, pod: Pod, result: Body, **config: Any) -> None:
        """CHECK; Refused."""
        assert self.call("CHECK", pod, prevResult=result, **config) is None

    def collect(self, *kept: Pod, **config: Any) -> None:
        """GC: those stay."""
        valid = [{"containerID": pod.container_id, "ifname": pod.ifname} for pod in kept]
        config = {"cni.dev/valid-attachments": valid} | config
        assert self.call("GC", None, **config) is None

    def status(self, **config: Any) -> None:
        """STATUS; Refused."""
        assert self.call("STATUS", None, **config) is None

    def call(self, verb: str, pod: Pod | None, **config: Any) -> Body | None:
        """One call: what it printed; Refused."""
        return self.answer(self.ask(request(verb, pod, self.config | config)))

    def run(
        self, program: Path, verb: str, pod: Pod, config: Mapping[str, Any], *, check: bool = True
    ) -> tuple[int, Body]:
        """Run a plugin's program as a runtime does: its exit code and what it printed."""
        environment = pod.environment(verb) | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        done = self.host.run([program], input=json.dumps(config), env=environment, check=False)
        body: Body = json.loads(done.stdout) if done.stdout.strip() else {}
        if check and done.returncode:
            raise Refused({"details": "", **body})
        return done.returncode, body

    def leaks(self) -> list[dict[str, str]]:
        """As `podnet doctor --leaks` has them."""
        found: list[dict[str, str]] = self.podnet.request("GET", "/leaks")[1]["leaks"]
        return found

    def ask(self, *parts: bytes) -> bytes:
        """Send bytes to the agent's socket and end; all that it answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(20)
            connection.connect(str(self.host.path(SOCKET)))
            for part in parts:
                connection.sendall(part)
            connection.shutdown(socket.SHUT_WR)
            answer = b""
            while chunk := connection.recv(1 << 16):
                answer += chunk
        return answer

    @staticmethod
    def answer(data: bytes) -> Body | None:
        """What an answer holds; Refused."""
        head, end, body = data.partition(b"\r\n\r\n")
        assert end, f"no answer: {data!r}"
        status = int(head.split()[1])
        length = re.search(rb"(?i)content-length: (\d+)", head)
        assert length and int(length[1]) == len(body), data
        found: Body | None = json.loads(body) if body else None
        if status == 422:
            assert found is not None
            raise Refused(found)
        assert status == 200, data
        return found

    # --- what is there ---

    def attachments(self) -> list[Body]:
        """As the agent lists them."""
        status, answer = self.podnet.request("GET", "/attachments")
        assert status == 200
        items: list[Body] = answer["items"]
        return items

    def host_ends(self) -> list[str]:
        """The links of ours that are up, by name."""
        links = self.host.links().items()
        return sorted(
            name for name, link in links if name.startswith("vethpn") and "UP" in link["flags"]
        )

    def elements(self, name: str) -> list[Any]:
        """The elements of one of the table's sets or maps."""
        listed = self.host.nft_json("list", "table", "inet", "podnet")
        (found,) = [
            each[kind]
            for each in listed
            for kind in ("set", "map")
            if kind in each and each[kind]["name"] == name
        ]
        elements: list[Any] = found.get("elem", [])
        return elements

    def swept(self) -> None:
        """Wait until no link of an attachment that went is left."""
        wanted = {each["hostEnd"] for each in self.attachments()}

        def is_clean() -> bool:
            return {name for name in self.host.links() if name.startswith("vethpn")} <= wanted

        until(is_clean, "links that were given up to be gone")

    def is_empty(self) -> None:
        """Nothing that CNI attached is left: no record, no link, no address, no port."""
        self.swept()
        assert self.attachments() == []
        for name in ("pn_any4", "pn_ip4", "pn_self4"):
            assert self.elements(name) == []


def request(
    verb: str, pod: Pod | None, config: Mapping[str, Any] | bytes, **environment: str | None
) -> bytes:
    """A call as the shim sends it; a variable of None is not set."""
    body = config if isinstance(config, bytes) else json.dumps(config).encode()
    variables: dict[str, str | None] = {"Cni-Command": verb, "Cni-Path": "/opt/cni/bin"}
    if pod is not None:
        variables |= {
            "Cni-Containerid": pod.container_id,
            "Cni-Netns": pod.netns,
            "Cni-Ifname": pod.ifname,
            "Cni-Args": pod.args,
        }
    variables |= {f"Cni-{name.capitalize()}": value for name, value in environment.items()}
    lines = [f"{name}: {value}" for name, value in variables.items() if value is not None]
    head = "\r\n".join(["POST /cni HTTP/1.0", *lines, f"Content-Length: {len(body)}"])
    return head.encode() + b"\r\n\r\n" + body


def codes(calls: Sequence[Any]) -> list[int]:
    """What each of these calls was refused with, 0 where it was not."""
    found = []
    for call in calls:
        try:
            call()
            found.append(0)
        except Refused as refused:
            found.append(refused.code)
    return found


def started(host: Host) -> Runtime:
    """The host's runtime, beside an agent that was just started."""
    podnet = Podnet(host)
    podnet.agent()
    return Runtime(podnet)


def ports(*mappings: tuple[int, int], **fields: Any) -> dict[str, Any]:
    """Configuration that publishes them, each a port of the host and one of the Pod."""
    listed = [{"hostPort": host, "containerPort": pod} | fields for host, pod in mappings]
    return {"runtimeConfig": {"portMappings": listed}}


def address(result: dict[str, Any]) -> str:
    """The first one of a result."""
    found: str = result["ips"][0]["address"].partition("/")[0]
    return found


def address_gateway(result: dict[str, Any]) -> str:
    """The gateway of the first address."""
    found: str = result["ips"][0]["gateway"]
    return found

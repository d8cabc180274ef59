"""The kubelet's part on a node, done by crictl: Pods of two containers in Debian's containerd."""

import json
import shutil
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import drivers
from support.cni import PLUGINS, bridge
from support.containerd import IMAGE, SOCKET, Containerd
from support.host import Host, until
from support.leaks import traces
from support.podnet import Podnet
from support.traffic import Place

PAUSE = "docker.io/library/pause:1"
CONFIGURATIONS, PROGRAMS = "/etc/cni/net.d", "/var/lib/cni/bin"
DISK, LOGS = "/var/lib/containerd", "/var/lib/pod-logs"
RUN = ("/run/containerd", "/run/netns", "/run/podnet")
"""What a reboot takes; DISK stays."""
PAGE = "/tmp/page"
SERVER = f"mkdir {PAGE}; echo $NAME > {PAGE}/name; echo $NAME serves; exec httpd -f -p 80 -h {PAGE}"
CONTAINERS = {"server": ["sh", "-c", SERVER], "client": ["sleep", "100000"]}
"""Of every Pod: one answers with the Pod's name, the other asks."""
SETTINGS = f"""\
version = 2
root = "{DISK}"
[plugins."io.containerd.grpc.v1.cri"]
restrict_oom_score_adj = true
sandbox_image = "{PAUSE}"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PROGRAMS}"
conf_dir = "{CONFIGURATIONS}"
"""
AGENT = (str(Path(sys.executable).with_name("podnet-agent")), "serve", "--cni")
ELSEWHERE = """
import sys
sys.executable = sys.argv.pop(1)
from podnet_agent.__main__ import main
main()
"""
"""The agent, as if its programs lay beside another interpreter."""


@dataclass(frozen=True)
class Pod:
    """One that runs."""

    host: Host
    name: str
    id: str
    ip: str
    netns: str
    containers: Mapping[str, str]
    """Ids by name."""

    @property
    def place(self) -> Place:
        """Where its traffic begins and ends."""
        return Place(self.host, self.netns)


class Cri(Containerd):
    """A containerd that asks the plugins in PROGRAMS for what CONFIGURATIONS say, and crictl."""

    def __init__(self, host: Host) -> None:
        self._crictl = drivers.built() / "crictl"
        for folder in (DISK, CONFIGURATIONS, PROGRAMS):
            host.path(folder).mkdir(parents=True, exist_ok=True)
        host.run(["mount", "-t", "tmpfs", "none", DISK])  # an overlay can't lie on an overlay
        for plugin in PLUGINS.iterdir():
            host.path(f"{PROGRAMS}/{plugin.name}").symlink_to(plugin)
        super().__init__(host, SETTINGS)
        self.import_busybox()
        self.import_busybox(PAUSE, Entrypoint=["/bin/sleep", "100000"])

    def start(self) -> None:
        """Its CRI answers too, which comes later."""
        super().start()
        version = self._words("version")
        until(
            lambda: not self.host.run(version, check=False).returncode, "an answer of the CRI", 30
        )

    def configure(self, name: str, conflist: Mapping[str, Any]) -> None:
        """Give containerd a network, and wait until it has taken it up."""
        folder = self.host.path(CONFIGURATIONS)
        (folder / f"{name}.new").write_text(json.dumps(conflist))
        (folder / f"{name}.new").rename(folder / name)
        until(self.is_ready, "containerd to have a network", 30)

    def is_ready(self) -> bool:
        """What the kubelet is told by Status."""
        conditions = json.loads(self.crictl("info"))["status"]["conditions"]
        return all(each["status"] for each in conditions)

    def with_podnet(self) -> Podnet:
        """An agent whose plugin it calls."""
        podnet = Podnet(self.host, AGENT)
        podnet.agent()
        until(self.is_ready, f"containerd to have a network\n{podnet.log()}", 10)
        return podnet

    def with_others(self, name: str) -> None:
        """The plugins that podnet is compared with, by a configuration of that name."""
        network = bridge(masquerade=False)
        body = {"cniVersion": "1.0.0", "name": network.name, "plugins": network.plugins}
        self.configure(name, body)

    def crictl(self, *words: str, **options: Any) -> str:
        """Run `crictl WORDS`: what it printed; options as of Host.run."""
        return self.host.run(self._words(*words), timeout=40, **options).stdout.strip()

    def begin(self, *words: str) -> "subprocess.Popen[Any]":
        """Begin `crictl WORDS`, whose end nobody has to see."""
        nothing = subprocess.DEVNULL
        return self.host.popen(self._words(*words), stdout=nothing, stderr=nothing)

    def _words(self, *words: str) -> Sequence[str | Path]:
        endpoint = f"unix://{SOCKET}"
        return [self._crictl, "--runtime-endpoint", endpoint, "--timeout", "30s", *words]

    def reboot(self) -> None:
        """The node has been booted; containerd is not started yet."""
        self.stop()
        self.host.wipe(*RUN)

    # --- Pods ---

    def run(self, name: str, *ports: tuple[int, int], attempt: int = 0, alone: bool = False) -> Pod:
        """A Pod that serves; `ports`: the host's and its own. HostError with the reason.

        `alone`: without containers.
        """
        key = self.crictl("runp", self.file(name, *ports, attempt=attempt))
        if alone:
            return self._read(name, key, {})
        containers = {each: self._start(key, name, each, attempt) for each in CONTAINERS}
        pod = self._read(name, key, containers)
        log = self.host.path(f"{LOGS}/{name}/server-{attempt}.log")
        until(lambda: "serves" in log.read_text(), f"{name} to serve")
        return pod

    def file(self, name: str, *ports: tuple[int, int], attempt: int = 0) -> str:
        """What crictl is told of a Pod: a file in its folder of logs."""
        mappings = [{"host_port": host, "container_port": own} for host, own in ports]
        files = self.host.path(f"{LOGS}/{name}")
        files.mkdir(parents=True, exist_ok=True)
        sandbox = {
            "metadata": {"name": name, "namespace": "default", "uid": name, "attempt": attempt},
            "log_directory": f"{LOGS}/{name}",
            "port_mappings": mappings,
            "linux": {},
        }
        (files / "sandbox.json").write_text(json.dumps(sandbox))
        return f"{LOGS}/{name}/sandbox.json"

    def _start(self, key: str, pod: str, name: str, attempt: int) -> str:
        container = {
            "metadata": {"name": name, "attempt": attempt},
            "image": {"image": IMAGE},
            "command": CONTAINERS[name],
            "envs": [{"key": "NAME", "value": pod}],
            "log_path": f"{name}-{attempt}.log",
            "linux": {},
        }
        folder = f"{LOGS}/{pod}"
        self.host.path(f"{folder}/{name}.json").write_text(json.dumps(container))
        made = self.crictl("create", key, f"{folder}/{name}.json", f"{folder}/sandbox.json")
        self.crictl("start", made)
        return made

    def _read(self, name: str, key: str, containers: Mapping[str, str]) -> Pod:
        said = json.loads(self.crictl("inspectp", key))
        spaces = {each["type"]: each for each in said["info"]["runtimeSpec"]["linux"]["namespaces"]}
        return Pod(
            self.host,
            name,
            key,
            said["status"]["network"]["ip"],
            spaces["network"]["path"],
            containers,
        )

    def exec(self, pod: Pod, *command: str, container: str = "client") -> str:
        """What a command says in one of its containers."""
        return self.crictl("exec", pod.containers[container], *command)

    def fetch(self, pod: Pod, url: str) -> str:
        """What a server answers to the Pod's client."""
        return self.exec(pod, "wget", "-q", "-O", "-", f"http://{url}/name")

    def logs(self, pod: Pod, container: str = "server") -> str:
        """What a container has printed."""
        return self.crictl("logs", pod.containers[container])

    def remove(self, *keys: str) -> None:
        """Stop and remove Pods as the kubelet does."""
        for key in keys:
            self.crictl("stopp", key)
            self.crictl("rmp", key)

    def remove_forgotten(self, known: Collection[str]) -> None:
        """Take away a namespace that containerd made and, killed, has no record of: it stays empty.

        1.6 mounts it, and writes down a moment later that it did; then it calls the plugin.
        """
        for path in set(traces(self.host)["namespaces"]) - set(known):
            links = self.host.ip_json("link", netns=path)
            assert [link["ifname"] for link in links] == ["lo"], f"{path} was podnet's to empty"
            self.host.run(["umount", path])
            self.host.path(path).unlink()

    def pods(self) -> dict[str, str]:
        """Every Pod that containerd knows: its state by id."""
        items = json.loads(self.crictl("pods", "-o", "json"))["items"]
        return {item["id"]: item["state"] for item in items}


def release(host: Host, name: str, program: Path) -> Podnet:
    """Another installation of podnet on the host: it brings that program as podnet-cni."""
    folder = f"/var/lib/{name}/bin"
    host.path(folder).mkdir(parents=True)
    shutil.copy(program, host.path(f"{folder}/podnet-cni"))
    words = (sys.executable, "-c", ELSEWHERE, f"{folder}/python", *AGENT[1:])
    return Podnet(host, words)


class Cnitool:
    """The CNI project's own tool on a host, for one network of its CONFIGURATIONS."""

    def __init__(self, host: Host, network: str) -> None:
        self.host, self.network = host, network
        self._program = drivers.built() / "cnitool"

    def run(
        self, verb: str, netns: str, *, check: bool = True, **capabilities: Any
    ) -> "subprocess.CompletedProcess[str]":
        """`cnitool VERB`, with runtimeConfig as given; options as of Host.run."""
        environment = {
            "CNI_PATH": PROGRAMS,
            "NETCONFPATH": CONFIGURATIONS,
            "CAP_ARGS": json.dumps(capabilities),
        }
        argv: Sequence[str | Path] = [self._program, verb, self.network, netns]
        return self.host.run(argv, check=check, env=environment)

    def add(self, netns: str, **capabilities: Any) -> dict[str, Any]:
        """The result of ADD."""
        found: dict[str, Any] = json.loads(self.run("add", netns, **capabilities).stdout)
        return found


def namespace(host: Host, name: str) -> str:
    """A network namespace for it to work in, by its path."""
    host.run(["ip", "netns", "add", name])
    return f"/run/netns/{name}"

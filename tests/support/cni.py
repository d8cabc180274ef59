"""Debian's CNI plugins, called as libcni calls them: environment, standard input, JSON back.

They act in the namespaces of the calling process, without anything between, so that a benchmark
times the plugins alone: run in a private host, as `enter.py` does.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PLUGINS = Path("/usr/lib/cni")
"""Of the package containernetworking-plugins: bridge, host-local, loopback, portmap and more."""
CNI_VERSION = "1.0.0"
"""The newest that 1.1.1, Debian 12's, speaks."""
Result = dict[str, Any]


class CniError(Exception):
    """What a plugin refused, in its own words."""


@dataclass(frozen=True)
class Network:
    """A list of plugins, each with its configuration; the result of one is the next one's."""

    name: str
    plugins: tuple[Mapping[str, Any], ...]

    def add(self, container_id: str, netns: str, ifname: str = "eth0", **runtime: Any) -> Result:
        """Attach; returns the result of the last plugin. `runtime` is runtimeConfig by name."""
        result: Result | None = None
        for plugin in self.plugins:
            result = self._call("ADD", plugin, container_id, netns, ifname, runtime, result)
        assert result is not None
        return result

    def delete(
        self,
        container_id: str,
        netns: str,
        ifname: str = "eth0",
        result: Result | None = None,
        **runtime: Any,
    ) -> None:
        """Detach, last plugin first; `result` is what `add` returned."""
        for plugin in reversed(self.plugins):
            self._call("DEL", plugin, container_id, netns, ifname, runtime, result)

    def _call(
        self,
        command: str,
        plugin: Mapping[str, Any],
        container_id: str,
        netns: str,
        ifname: str,
        runtime: Mapping[str, Any],
        result: Result | None,
    ) -> Result | None:
        config = {"cniVersion": CNI_VERSION, "name": self.name, **plugin}
        wanted = config.pop("capabilities", {})
        if given := {name: value for name, value in runtime.items() if wanted.get(name)}:
            config["runtimeConfig"] = given
        if result is not None:
            config["prevResult"] = result
        environment = {
            **os.environ,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container_id,
            "CNI_NETNS": netns,
            "CNI_IFNAME": ifname,
            "CNI_ARGS": "IgnoreUnknown=1",
            "CNI_PATH": str(PLUGINS),
        }
        return call(PLUGINS / config["type"], environment, json.dumps(config).encode())


def call(program: Path, environment: Mapping[str, str], config: bytes) -> Result | None:
    """Run one plugin to its end: its result, None when it prints none."""
    stdin, feed = os.pipe()
    answer, stdout = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
        pid = os.posix_spawn(program, [str(program)], environment, file_actions=actions)
    finally:
        os.close(stdin)
        os.close(stdout)
    with os.fdopen(feed, "wb") as into:
        into.write(config)
    with os.fdopen(answer, "rb") as out:
        said = out.read()
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code:
        command = environment["CNI_COMMAND"]
        try:
            error = json.loads(said)
            reason = f"error {error['code']}: {error['msg']}"
        except (ValueError, KeyError):
            reason = f"exit {code}: {said.decode(errors='replace')}"
        raise CniError(f"{program.name} {command}: {reason}")
    found: Result | None = json.loads(said) if said.strip() else None
    return found


def bridge(
    subnet: str = "10.88.0.0/16", *, data: str = "/run/cni", masquerade: bool = True
) -> Network:
    """The common chain: bridge with host-local addresses, portmap. Everything lies in `data`."""
    return Network(
        "cni",
        (
            {
                "type": "bridge",
                "bridge": "cni0",
                "isGateway": True,
                "ipMasq": masquerade,
                "ipam": {
                    "type": "host-local",
                    "dataDir": data,
                    "ranges": [[{"subnet": subnet}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ),
    )

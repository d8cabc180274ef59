"""podnet as a node's CNI plugin: the program, and the configuration that has containerd call it.

A configuration is a promise that Pods can be attached, so it is written when the agent says that
they can. It stays when the agent ends: without it containerd could not delete a Pod's network.
"""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from podnet.cni.config import PLUGIN
from podnet.errors import Conflict, PodNetError, Retryable
from podnet_agent import placing

CONFIGURATION = "10-podnet.conflist"
CONFLIST = {
    # containerd 1.6 and 1.7 speak 1.0.0; later ones take the newest of the list, which has STATUS.
    "cniVersion": "1.0.0",
    "cniVersions": ["1.0.0", "1.1.0"],
    "name": "podnet",
    "plugins": [
        {
            "type": PLUGIN,
            "capabilities": {
                "portMappings": True,
                "ips": True,
                "mac": True,
                "io.kubernetes.cri.pod-annotations": True,
            },
        }
    ],
}
STATUS = json.dumps({"cniVersion": "1.1.0", "name": CONFLIST["name"], "type": PLUGIN})
"""The configuration with which STATUS is asked for: the version that brought the verb."""
_TEXT = (json.dumps(CONFLIST, indent=2) + "\n").encode()
_SUFFIXES = (".conf", ".conflist", ".json")
"""What containerd takes for a configuration (go-cni, opts.go)."""


@dataclass(frozen=True, slots=True)
class Installation:
    """The two folders in which containerd looks."""

    programs: Path
    configurations: Path

    @property
    def program(self) -> Path:
        """What containerd starts."""
        return self.programs / PLUGIN

    @property
    def configuration(self) -> Path:
        """What has it started."""
        return self.configurations / CONFIGURATION

    def appear(self) -> list[Path]:
        """Program and configuration are there; those that were not. Retryable: it would be a lie.

        One that is there is renewed whether Pods can be attached just now or not.
        """
        written = []
        if placing.place(self.program, placing.own_program(PLUGIN), 0o755):
            written.append(self.program)
        if not self.configuration.exists():
            self._ask()
        if placing.place(self.configuration, _TEXT, 0o644):
            written.append(self.configuration)
        return written

    def remove(self) -> list[Path]:
        """Both are gone; those that were there. What others have put into the folders stays."""
        ours = (self.configuration, self.program)  # nobody may be sent to a program that is gone
        return [path for path in ours if placing.remove(path)]

    def foreign(self) -> Path | None:
        """Another's configuration that containerd uses and not ours: it takes the first by name."""
        try:
            names = sorted(each.name for each in self.configurations.iterdir() if each.is_file())
        except FileNotFoundError:
            return None
        before = [name for name in names if name.endswith(_SUFFIXES) and name < CONFIGURATION]
        for name in before[:1]:
            if not _is_chain_of_ours(self.configurations / name):
                return self.configurations / name
        return None

    def refuse_foreign(self) -> None:
        """Conflict where another's configuration is used."""
        if found := self.foreign():
            raise Conflict(
                f"{found} comes before {CONFIGURATION}, so containerd uses it: remove it"
            )

    def _ask(self) -> None:
        """Retryable where the agent could not attach a Pod now; asked as containerd asks."""
        environment = {"CNI_COMMAND": "STATUS", "CNI_PATH": str(self.programs)}
        try:
            done = subprocess.run(
                [self.program],
                env=environment,
                input=STATUS,
                stdout=subprocess.PIPE,  # it ends after 3 s, whatever the agent does
                text=True,
            )
        except OSError as error:
            raise PodNetError(f"{self.program} can't be started: {error.strerror}") from error
        if done.returncode:
            refusal = json.loads(done.stdout)
            said = ": ".join(filter(None, (refusal["msg"], refusal["details"])))
            raise Retryable(f"{self.configuration} is written once Pods can be attached: {said}")


def _is_chain_of_ours(path: Path) -> bool:
    """Whether podnet is one of the plugins that a configuration names."""
    try:
        plugins = json.loads(path.read_bytes())["plugins"]
        return any(plugin["type"] == PLUGIN for plugin in plugins)
    except (OSError, ValueError, LookupError, TypeError):
        return False

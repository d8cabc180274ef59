"""The program as a user has it, in a private host: the command line and the agent's socket."""

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from support.host import Host, HostError, until
from support.traffic import Place

PROGRAM = Path(sys.executable).with_name("podnet")
SOCKET = "/run/podnet/agent.sock"
LOG = "/run/podnet-agent.log"
START_SECONDS = 30.0
"""What an agent's start may take on a machine that is busy; alone it is half a second."""


class Podnet:
    """`podnet` in a host. The agent is one started here, or the one that `podnet up` starts."""

    def __init__(
        self, host: Host, agent: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> None:
        self.host = host
        self._command = [*agent] or [PROGRAM, "agent"]
        self._env = env
        self._agent: subprocess.Popen[bytes] | None = None

    # --- the command line ---

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `podnet ARGS`; options as of Host.run (check, input, timeout, ...)."""
        return self.host.run([PROGRAM, *args], **options)

    def json(self, *args: str) -> Any:
        """What `podnet ARGS -o json` prints, parsed."""
        return json.loads(self.run(*args, "-o", "json").stdout)

    def apply(self, manifests: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Apply YAML; a running agent is needed."""
        return self.run("apply", "-f", "-", input=manifests, **options)

    def up(self, manifests: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Apply YAML and wait until it is there; starts an agent where none runs."""
        return self.run("up", "-", input=manifests, **options)

    def status(self, name: str) -> Any:
        """The status of a PodSandbox."""
        return self.json("get", "podsandbox", name)["status"]

    def condition(self, name: str, kind: str = "podsandbox", what: str = "Ready") -> dict[str, Any]:
        """An object's condition; empty while there is none."""
        found = self.json("get", kind, name)["status"].get("conditions", [])
        return next((each for each in found if each["type"] == what), {})

    def why_not(self, name: str, kind: str = "podsandbox") -> str:
        """What an object's condition Ready says, once it is False."""

        def refused() -> dict[str, Any]:
            found = self.condition(name, kind)
            return found if found.get("status") == "False" else {}

        sentence: str = until(refused, f"{kind} {name} to say why it is not ready")["message"]
        return sentence

    def place(self, name: str) -> Place:
        """Where a sandbox's traffic begins and ends."""
        return Place(self.host, self.status(name)["netns"]["path"])

    def ip(self, name: str) -> str:
        """A sandbox's first address."""
        address: str = self.status(name)["podIPs"][0]["ip"]
        return address

    def inside(self, name: str, *command: str, container: str = "c0") -> str:
        """What a command says in a container."""
        done = self.run("exec", name, "-c", container, "--", *command)
        return done.stdout.strip()

    def clear(self) -> None:
        """Delete every sandbox, and every network but `default`."""
        for kind in ("podsandbox", "podnetwork"):
            names = [body["metadata"]["name"] for body in self.json("get", kind)["items"]]
            names = [name for name in names if (kind, name) != ("podnetwork", "default")]
            if names:
                grace = ["--grace-period=0"] if kind == "podsandbox" else []
                self.run("delete", kind, *names, *grace)

    # --- the agent ---

    def agent(self) -> int:
        """Start `podnet agent` and return its process id once it answers."""
        assert self._agent is None or self._agent.poll() is not None, "the agent runs already"
        with self.host.path(LOG).open("ab") as log:
            process = self.host.popen(self._command, env=self._env, stdout=log, stderr=log)
        self._agent = process

        def answers() -> bool:
            if process.poll() is not None:
                raise HostError(f"podnet agent ended, exit {process.returncode}:\n{self.log()}")
            return self.answers()

        until(answers, f"an answer on {SOCKET}; its log:\n{self.log()}", START_SECONDS)
        return process.pid

    def answers(self) -> bool:
        """Whether an agent answers."""
        try:
            return self.request("GET", "/version")[0] == 200
        except OSError:
            return False

    def kill(self) -> None:
        """End the agent in the middle of whatever it does (SIGKILL)."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """Ask the agent to end (SIGTERM); its exit code."""
        return self._end(signal.SIGTERM)

    def hang(self) -> None:
        """The agent stands still (SIGSTOP): whoever asks it is heard by the kernel alone."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """It wakes up, and does not know that time has passed."""
        self._signal(signal.SIGCONT)

    def restart(self) -> int:
        """Kill the agent and start another; its process id."""
        self.kill()
        return self.agent()

    def _end(self, number: signal.Signals) -> int:
        return self._signal(number).wait(20)

    def _signal(self, number: signal.Signals) -> "subprocess.Popen[bytes]":
        assert self._agent is not None, "no agent was started here"
        self._agent.send_signal(number)
        return self._agent

    def log(self) -> str:
        """What the agents started here have said."""
        file = self.host.path(LOG)
        return file.read_text(errors="replace") if file.exists() else ""

    # --- its socket ---

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Ask the agent itself, as docs/architecture.md says: (HTTP status, answer)."""
        connection = _Connection(self.host.path(SOCKET))
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            response = connection.getresponse()
            text = response.read()
            return response.status, json.loads(text) if text else None
        finally:
            connection.close()


def hours_later(podnet: Podnet, seconds: int = 31) -> None:
    """Make every released address as old as that: the agent's clock cannot be turned."""
    code = (
        "import sqlite3; store = sqlite3.connect('/run/podnet/store.db', timeout=5);"
        f"store.execute('UPDATE address SET released = released - {seconds}'); store.commit()"
    )
    podnet.host.python(code)


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=20)
        self._path = path

    def connect(self) -> None:
        """Open the connection."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

"""An API server in a private host, for agents in others: the test's side of it."""

import contextlib
import http.client
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support.apiserver_program import CONTROL, FOLDER, NAMESPACE, PLURALS, PORT, TOKEN
from support.host import Host, HostError, until

Body = dict[str, Any]

ACCOUNT = "/run/secrets/kubernetes.io/serviceaccount"


class ApiServer:
    """The server in a host, from construction on; every method acts at once."""

    def __init__(self, host: Host, address: str) -> None:
        self.host, self.address = host, address
        host.path(FOLDER).mkdir()
        words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=x"
        words += f" -addext subjectAltName=IP:{address} -keyout {FOLDER}/key -out {FOLDER}/ca.crt"
        host.run(["openssl", *words.split()])
        self._log = host.path("/run/apiserver.log").open("wb")
        self._process = host.popen(
            [sys.executable, str(Path(__file__).with_name("apiserver_program.py")), address],
            env={"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=self._log,
            stderr=self._log,
        )
        until(self._answers, "an answer of the API server", 10)

    def _answers(self) -> bool:
        if self._process.poll() is not None:
            said = self.host.path("/run/apiserver.log").read_text()
            raise HostError(f"the API server ended:\n{said}")
        with contextlib.suppress(OSError):
            self.control("nothing")
            return True
        return False

    def let_in(self, host: Host, token: str = TOKEN) -> dict[str, str]:
        """Give a host a service account; the environment that an agent there needs."""
        folder = host.path(ACCOUNT)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text(token)
        (folder / "namespace").write_text(NAMESPACE)
        (folder / "ca.crt").write_text(self.host.path(f"{FOLDER}/ca.crt").read_text())
        return {
            "KUBERNETES_SERVICE_HOST": self.address,
            "KUBERNETES_SERVICE_PORT": str(PORT),
        }

    # --- objects ---

    def put(self, kind: str, name: str, spec: Body, *, namespace: str = "", **meta: Any) -> Body:
        """Create the object, or give it this spec."""
        body = {
            "apiVersion": "podnet.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, **({"namespace": namespace} if namespace else {}), **meta},
            "spec": spec,
        }
        return self.control("put", body)

    def network(self, name: str, *subnets: str, **spec: Any) -> Body:
        """A PodNetwork."""
        return self.put("PodNetwork", name, {"subnets": list(subnets), **spec})

    def share(self, network: str, node: str, *pod_cidrs: str) -> Body:
        """A NodeSubnet, as the operator writes it."""
        spec = {"podNetwork": network, "nodeName": node, "podCIDRs": list(pod_cidrs)}
        return self.put("NodeSubnet", f"{network}.{node}", spec)

    def node(self, name: str, *pod_cidrs: str) -> Body:
        """A Node, as kube-controller-manager completes it."""
        return self.put("Node", name, {"podCIDRs": list(pod_cidrs)})

    def sandbox(
        self,
        name: str,
        node: str,
        network: Body | str = "default",
        finalizers: Sequence[str] = (),
        **spec: Any,
    ) -> Body:
        """A PodSandbox in bridge mode on that network, or with all of spec.network given."""
        wanted = {"podNetwork": network} if isinstance(network, str) else network
        spec = {"nodeName": node, "network": wanted, **spec}
        held = {"finalizers": [*finalizers]} if finalizers else {}
        return self.put("PodSandbox", name, spec, namespace="default", **held)

    def get(self, kind: str, name: str) -> Body | None:
        """The object, with its status."""
        found: Body | None = self.control("get", *_key(kind, name))
        return found

    def names(self, kind: str) -> list[str]:
        """Of all objects of that kind."""
        found: list[str] = self.control("names", PLURALS[kind])
        return found

    def status(self, kind: str, name: str) -> Body:
        """The object's status; empty while there is none."""
        return (self.get(kind, name) or {}).get("status", {})

    def condition(self, kind: str, name: str, what: str = "Ready") -> Body:
        """One of its conditions; empty while there is none."""
        found = self.status(kind, name).get("conditions", ())
        return next((each for each in found if each["type"] == what), {})

    def wait_ready(self, kind: str, name: str, seconds: float = 10) -> Body:
        """Its status, once condition Ready is True."""
        until(
            lambda: self.condition(kind, name).get("status") == "True",
            f"{kind} {name} to be ready; it says {self.status(kind, name)}",
            seconds,
        )
        return self.status(kind, name)

    def set_status(self, kind: str, name: str, status: Body) -> None:
        """Replace the status, as somebody else might."""
        self.control("status", *_key(kind, name), status)

    def delete(self, kind: str, name: str) -> None:
        """The object is gone, unless it has finalizers."""
        self.control("delete", *_key(kind, name))

    # --- what goes wrong ---

    def cut(self) -> None:
        """Every stream ends in the middle."""
        self.control("cut")

    def forget(self) -> None:
        """History is compacted: whoever resumes from before is told so (410)."""
        self.control("forget")

    def repeat(self) -> None:
        """Every watcher hears of every object again."""
        self.control("repeat")

    def stop(self) -> None:
        """Nothing answers any more; what is kept is kept."""
        self.control("stop")

    def start(self) -> None:
        """As before."""
        self.control("start")

    def refuse(self, code: int, times: int) -> None:
        """Answer the next requests with that code."""
        self.control("refuse", code, times)

    def accept_only(self, token: str) -> None:
        """The token was renewed: the old one does not count any more."""
        self.control("token", token)

    def drop_kind(self, plural: str) -> None:
        """Delete a CRD: first its objects, then the kind."""
        self.control("drop", plural)

    def delete_podnet(self, *, rights: bool = True) -> None:
        """Somebody deletes podnet: its namespace is to go, and with `rights` all tokens at once."""
        self.control("deleted", rights)

    def restore_podnet(self) -> None:
        """It is installed as before."""
        self.control("installed")

    def restore_kind(self, plural: str) -> None:
        """The CRD is there again, without objects."""
        self.control("restore", plural)

    def watches(self, plural: str) -> int:
        """How many there are of that kind."""
        found: int = self.control("watches", plural)
        return found

    def events(self, name: str) -> list[tuple[str, str]]:
        """Reason and message of each Event of the object of that name, in their order."""
        return [(reason, message) for reason, message in self.control("events", name)]

    def writes(self) -> list[str]:
        """Paths of all status writes so far."""
        found: list[str] = self.control("writes")
        return found

    def control(self, what: str, *values: Any) -> Any:
        """Ask the program."""
        connection = _Connection(self.host.path(CONTROL))
        try:
            connection.request("POST", f"/{what}", json.dumps(values))
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != 200:
                raise HostError(f"the API server: {what}: {response.status} {text}")
            return json.loads(text)
        finally:
            connection.close()


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _key(kind: str, name: str) -> list[str]:
    return [PLURALS[kind], "default" if kind == "PodSandbox" else "", name]

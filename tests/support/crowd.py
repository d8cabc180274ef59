"""Pods and PodSandboxes of a cluster that all ask each other, and Services, at once.

Everybody serves: an answer says who gave it and whom it saw. Who asks does so by one command for
all questions, so that a whole table costs what its slowest answer does.
"""

import subprocess
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from support.cluster import BUSYBOX, FOLDER, Cluster
from support.plane import Body, address, container_address, internal, pod, ready, sandbox

PORT, HOST_PORT, BOX_PORT, NODE_PORT = 8080, 18081, 18082, 30081
SERVER = r"""mkdir -p /tmp/cgi-bin
printf '#!/bin/sh\necho; echo "$(hostname) $REMOTE_ADDR"\n' > /tmp/cgi-bin/who
chmod +x /tmp/cgi-bin/who
echo begun
exec httpd -f -p 8080 -h /tmp"""
COMMAND = ("sh", "-ec", SERVER)
ASKING = """while read key times where; do (
  while [ $((times -= 1)) -ge 0 ]; do
    echo "$key $(busybox timeout 3 busybox wget -q -O - http://$where/cgi-bin/who 2> /dev/null)"
  done ) & done; wait"""
"""Reads KEY TIMES HOST:PORT; a line for each answer, with nothing behind the key for none."""

Question = tuple[str, int]
"""Where, and how often one after the other."""


@dataclass(frozen=True, order=True)
class Answer:
    """Who answered, and whom it saw; both empty for no answer."""

    server: str = ""
    seen: str = ""


@dataclass
class Crowd:
    """In one namespace. By name: web, near (Pods) and box (PodSandbox) are on the first worker,
    far and distant on the second one. web and box have a port of their node each, web has the
    Service one; all three Pods are behind many, and behind sticky, which has affinity.
    """

    cluster: Cluster
    namespace: str
    addresses: dict[str, str]
    services: dict[str, str]
    nodes: dict[str, str]  # addresses by name
    home: str  # the first worker
    boxes: dict[str, Body]
    outside: str  # a container of docker's, by name

    @property
    def outside_address(self) -> str:
        """Of who is no part of the cluster."""
        return container_address(self.cluster, self.outside)

    def places(self) -> list[str]:
        """Everybody who can ask."""
        return [*self.addresses, "node", "outside"]

    def run(self, place: str, *command: str, **options: Any) -> str:
        """What a command prints there; options as of in_cluster."""
        if place == "node":
            return self.cluster.node(self.home, *command, **options)
        if place == "outside":
            argv = ("docker", "exec", "-i", self.outside, *command)
            return self.cluster.in_cluster(*argv, **options).stdout
        if place in self.boxes:
            return self.cluster.inside_netns(self.boxes[place], *command, **options)
        here = ("--namespace", self.namespace)
        return self.cluster.kubectl("exec", "-i", *here, place, "--", *command, **options)

    def ask(self, place: str, questions: Mapping[str, Question]) -> dict[str, list[Answer]]:
        """All of them, asked from there at the same time."""
        lines = "".join(f"{key} {times} {where}\n" for key, (where, times) in questions.items())
        found: dict[str, list[Answer]] = {key: [] for key in questions}
        for line in self.run(place, "busybox", "sh", "-c", ASKING, stdin=lines).splitlines():
            key, *answer = line.split()
            who, seen = answer or ("", "")
            found[key].append(Answer(who, seen.strip("[]").removeprefix("::ffff:")))
        return found


def gather(cluster: Cluster, namespace: str) -> Crowd:
    """They run, in that namespace; `outside` has to be ended by `dismiss`."""
    home, other = cluster.workers()
    port = {"containerPort": PORT, "hostPort": HOST_PORT}
    pods = [
        served(pod("web", namespace, home, *COMMAND), "one", ports=[port]),
        served(pod("near", namespace, home, *COMMAND)),
        served(pod("far", namespace, other, *COMMAND)),
    ]
    published = [{"containerPort": PORT, "hostPort": BOX_PORT}]
    boxes = [
        sandbox("box", namespace, home, ports=published),
        sandbox("distant", namespace, other),
    ]
    for box in boxes:
        box["spec"]["containers"][0]["command"] = [*COMMAND]
    services = [
        service("one", namespace, {"role": "one"}, nodePort=NODE_PORT),
        service("many", namespace, {"crowd": "yes"}),
        service("sticky", namespace, {"crowd": "yes"}, sessionAffinity="ClientIP"),
    ]
    cluster.apply(*pods, *boxes, *services)
    outside = f"podnet-test-{namespace}"
    run = ("docker", "run", "--detach", "--network=kind", f"--name={outside}", BUSYBOX)
    cluster.in_cluster(*run, *COMMAND)
    here = ("--namespace", namespace)
    wait = ("wait", *here, "--for=condition=Ready", "pods", "--all", "--timeout=120s")
    cluster.kubectl(*wait, timeout=130)
    found = ready(cluster, namespace)
    addresses = {
        each["metadata"]["name"]: each["status"]["podIP"]
        for each in cluster.get("pods", *here)["items"]
    }
    return Crowd(
        cluster,
        namespace,
        addresses | {each["metadata"]["name"]: address(each) for each in found},
        {
            each["metadata"]["name"]: each["spec"]["clusterIP"]
            for each in cluster.get("services", *here)["items"]
        },
        {each["metadata"]["name"]: internal(each) for each in cluster.nodes()},
        home,
        {each["metadata"]["name"]: each for each in found},
        outside,
    )


def dismiss(cluster: Cluster, namespace: str) -> None:
    """They are gone or going, whoever of them was there."""
    outside = f"podnet-test-{namespace}"
    cluster.in_cluster("docker", "rm", "--force", outside, check=False)
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


def served(body: Body, role: str = "", **container: Any) -> Body:
    """A Pod that Services find, and that is ready when it answers."""
    body["metadata"]["labels"] = {"crowd": "yes", "role": role}
    probe = {"tcpSocket": {"port": PORT}, "periodSeconds": 1}
    body["spec"]["containers"][0] |= {"readinessProbe": probe} | container
    return body


def service(
    name: str, namespace: str, selector: dict[str, str], nodePort: int = 0, **spec: Any
) -> Body:
    """A Service at PORT."""
    port = {"port": PORT} | ({"nodePort": nodePort} if nodePort else {})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"selector": selector, "ports": [port]}
        | ({"type": "NodePort"} if nodePort else {})
        | spec,
    }


Expected = Callable[[list[Answer]], bool]


def questions(crowd: Crowd, place: str) -> dict[str, tuple[Question, Expected]]:
    """All that can be asked from a place, and which answers are right."""
    own = crowd.addresses.get(place, "")
    asked: dict[str, tuple[Question, Expected]] = {}
    if place != "outside":
        for name, where in crowd.addresses.items():
            asked[name] = ((f"{where}:{PORT}", 1), by(name, own))
        seen = "" if place == "web" else own  # who asks itself by way of a Service is hidden
        asked["ClusterIP"] = ((f"{crowd.services['one']}:{PORT}", 1), by("web", seen))
        asked["balanced"] = ((f"{crowd.services['many']}:{PORT}", 30), by_all("web", "near", "far"))
        asked["affinity"] = ((f"{crowd.services['sticky']}:{PORT}", 8), by_one)
    if place in crowd.addresses and place not in crowd.boxes:
        asked["DNS"] = ((f"one:{PORT}", 1), by("web", seen))
    for node, where in crowd.nodes.items():
        asked[f"NodePort-{node}"] = ((f"{where}:{NODE_PORT}", 1), by("web"))
    for server, port in (("web", HOST_PORT), ("box", BOX_PORT)):
        seen = "" if place == server else _seen(crowd, place)
        where = crowd.nodes[crowd.home]
        asked[f"hostPort-{server}"] = ((f"{where}:{port}", 1), by(server, seen))
        if place == "node":
            asked[f"hostPort-{server}-localhost"] = ((f"127.0.0.1:{port}", 1), by(server))
    return asked


def _seen(crowd: Crowd, place: str) -> str:
    """Whom it sees whose port of the node is asked for; empty: anybody."""
    match place:
        case "near" | "web" | "box":
            return crowd.addresses[place]
        case "far" | "distant":  # to them it is an address outside of all pod networks
            return next(each for name, each in crowd.nodes.items() if _is_theirs(crowd, name))
        case "outside":
            return crowd.outside_address
    return ""


def _is_theirs(crowd: Crowd, node: str) -> bool:
    return node == crowd.boxes["distant"]["spec"]["nodeName"]


def by(server: str, seen: str = "") -> Expected:
    """That one answers every time, and sees that address; empty: any."""

    def is_right(answers: list[Answer]) -> bool:
        return all(each.server == server and seen in ("", each.seen) for each in answers)

    return is_right


def by_all(*servers: str) -> Expected:
    """Each of them answers once at least, and nobody else."""
    return lambda answers: {each.server for each in answers} == {*servers}


def by_one(answers: list[Answer]) -> bool:
    """Always the same one answers."""
    servers = {each.server for each in answers}
    return len(servers) == 1 and "" not in servers


def wrong(crowd: Crowd) -> dict[str, list[Answer]]:
    """The answers that are not as they should be, by `PLACE to WHAT`. Empty: all is well."""
    asked = {place: questions(crowd, place) for place in crowd.places()}
    found = {}
    with ThreadPoolExecutor() as pool:
        asking = {
            place: pool.submit(crowd.ask, place, {key: each[0] for key, each in table.items()})
            for place, table in asked.items()
        }
    for place, table in asked.items():
        answers = asking[place].result()
        for key, (_, is_right) in table.items():
            if not answers[key] or not is_right(answers[key]):
                found[f"{place} to {key}"] = sorted(set(answers[key]))
    return found


def get_into(crowd: Crowd, name: str) -> None:
    """Fail unless `kubectl exec`, `logs` and `port-forward` reach that Pod."""
    cluster, here = crowd.cluster, ("--namespace", crowd.namespace)
    assert cluster.kubectl("exec", *here, name, "--", "hostname") == f"{name}\n"
    assert cluster.kubectl("logs", *here, name) == "begun\n"
    command = [FOLDER / "in", "kubectl", "port-forward", *here, f"pod/{name}", f":{PORT}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as forward:
        try:
            assert forward.stdout is not None
            port = forward.stdout.readline().partition("127.0.0.1:")[2].split()[0]
            url = f"http://127.0.0.1:{port}/cgi-bin/who"
            said = cluster.in_cluster("busybox", "wget", "-q", "-O", "-", url).stdout
            assert said.split()[0] == name
        finally:
            forward.terminate()

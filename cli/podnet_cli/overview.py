"""`status`'s screen: what runs, and what is wrong, of one machine or of a whole cluster. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from podnet_cli.screen import BOLD, GREEN, RED, Columns, paint
from podnet_cli.tables import NONE, addresses_used, colour_of, condition, standing, subnets_of
from podnet_cli.waiting import outlook

Body = dict[str, Any]
NODES_SHOWN = 20
"""Rows that are well, on one screen; of more it gives the number. What is not well is shown."""
AGENT, OPERATOR = "podnet-agent", "podnet-operator"
"""Of the label app.kubernetes.io/name (deploy/base)."""
DESCRIBE_POD = "kubectl -n podnet-system describe pod {}"


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the screen shows, before it has a shape."""

    title: str
    nodes: Sequence[Sequence[str]]  # as NODE_HEADINGS
    networks: Sequence[Body]
    problems: Sequence[str]


NODE_HEADINGS = ("NODE", "AGENT", "READY", "SHARES")
NETWORK_HEADINGS = ("NETWORK", "BACKEND", "SUBNETS", "READY", "USED")


def of_cluster(nodes: Sequence[Body], pods: Sequence[Body], objects: Sequence[Body]) -> Overview:
    """From the cluster's Nodes, the Pods of podnet-system, and every object of podnet's kinds."""
    networks, shares, sandboxes = _by_kind(objects)
    known = sorted(_called(AGENT, pods), key=lambda pod: pod_state(pod) == "Running")
    agents = {pod["spec"].get("nodeName", ""): pod for pod in known}
    operators = list(_called(OPERATOR, pods))
    names = sorted(node["metadata"]["name"] for node in nodes)
    rows = [
        _node(name, pod_state(agents[name]) if name in agents else NONE, sandboxes, shares)
        for name in names
    ]
    problems = [
        *_operator_problems(operators),
        *(problem for node in nodes for problem in _node_problems(node, agents)),
        *_object_problems([*networks, *shares]),
        *_sandbox_problems(sandboxes, frozenset(agents)),
    ]
    running = [pod for pod in operators if pod_state(pod) == "Running"]
    where = f"runs on {running[0]['spec']['nodeName']}" if running else "does not run"
    have = sum(name in agents for name in names)
    return Overview(
        f"{len(names)} nodes, {have} agents; the operator {where}", rows, networks, problems
    )


def of_machine(machine: str, agent: Body, objects: Sequence[Body]) -> Overview:
    """From what the agent of this machine, or of this node of a cluster, has."""
    networks, shares, sandboxes = _by_kind(objects)
    own = [share for share in shares if share["spec"]["nodeName"] == machine]
    return Overview(
        f"agent {agent['version']}, process {agent['pid']}",
        [_node(machine, "Running", sandboxes, own)],
        networks,
        [*_object_problems([*networks, *own]), *_sandbox_problems(sandboxes, None)],
    )


def lines(overview: Overview) -> Iterator[str]:
    """The screen, line by line."""
    yield paint(overview.title, BOLD)
    yield ""
    yield from _table(NODE_HEADINGS, _shortened(overview.nodes))
    if len(overview.nodes) > NODES_SHOWN:
        yield f"and {len(overview.nodes) - len(_shortened(overview.nodes))} nodes more, all well"
    yield ""
    yield from _table(NETWORK_HEADINGS, [_network(body) for body in overview.networks])
    yield ""
    for problem in overview.problems:
        yield f"{paint('✘', RED)} {problem}"
    if not overview.problems:
        yield f"{paint('✔', GREEN)} all is as it should be"


def pod_state(pod: Body) -> str:
    """A Pod's state in one word: Running where it is ready, else why it is not."""
    if pod["metadata"].get("deletionTimestamp"):
        return "Terminating"
    status = pod.get("status", {})
    for container in status.get("containerStatuses", ()):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason"):
            return str(waiting["reason"])
    phase = str(status.get("phase", "Pending"))
    ready = condition(pod, "Ready").get("status") == "True"
    return "NotReady" if phase == "Running" and not ready else phase


def _by_kind(objects: Sequence[Body]) -> tuple[list[Body], list[Body], list[Body]]:
    """Networks, shares, sandboxes."""
    found: dict[str, list[Body]] = {"PodNetwork": [], "NodeSubnet": [], "PodSandbox": []}
    for body in objects:
        found[body["kind"]].append(body)
    return found["PodNetwork"], found["NodeSubnet"], found["PodSandbox"]


def _called(name: str, pods: Sequence[Body]) -> Iterator[Body]:
    for pod in pods:
        if pod["metadata"].get("labels", {}).get("app.kubernetes.io/name") == name:
            yield pod


def _node(name: str, agent: str, sandboxes: Sequence[Body], shares: Sequence[Body]) -> list[str]:
    here = [body for body in sandboxes if body["spec"].get("nodeName", name) == name]
    ready = sum(outlook(body)[0] == "ready" for body in here)
    own = [
        f"{body['spec']['podNetwork']} {','.join(body['spec']['podCIDRs'])}"
        for body in shares
        if body["spec"]["nodeName"] == name
    ]
    return [name, agent, f"{ready}/{len(here)}", "; ".join(own) or NONE]


def _network(body: Body) -> list[str]:
    return [
        body["metadata"]["name"],
        body["spec"].get("backend", {}).get("type") or "Local",
        subnets_of(body) or "each node's own",
        condition(body, "Ready").get("status", "Unknown"),
        addresses_used(body),
    ]


def _operator_problems(operators: Sequence[Body]) -> Iterator[str]:
    if any(pod_state(pod) == "Running" for pod in operators):
        return
    what = "does not run, so nothing new gets a share or a node"
    if not operators:
        yield f"the operator {what}: kubectl -n podnet-system describe deployment {OPERATOR}"
    for pod in operators:
        name = pod["metadata"]["name"]
        yield f"the operator {what} ({pod_state(pod)}): {DESCRIBE_POD.format(name)}"


def _node_problems(node: Body, agents: dict[str, Body]) -> Iterator[str]:
    name = node["metadata"]["name"]
    ready = condition(node, "Ready")
    if ready.get("status") != "True":
        why = ready.get("message") or "it says nothing"
        yield f"Node {name} is not ready, so it can't be asked: {why}"
    elif name not in agents:
        yield (
            f"Node {name} has no agent, so no sandbox starts or ends there:"
            f" kubectl -n podnet-system describe daemonset {AGENT}"
        )
    elif (state := pod_state(agents[name])) != "Running":
        pod = agents[name]["metadata"]["name"]
        yield f"Node {name}'s agent is {state}: {DESCRIBE_POD.format(pod)}"


def _object_problems(objects: Sequence[Body]) -> Iterator[str]:
    """Of networks and shares: every condition that is not as it should be."""
    for body in objects:
        name = f"{body['kind']}/{body['metadata']['name']}"
        claims = body.get("status", {}).get("conditions", ())
        if not claims:
            yield f"{name} has no status yet: nobody has taken it up"
        for claim in claims:
            if claim["status"] == "False":
                yield _sentence(name, claim["type"], claim["reason"], claim.get("message", ""))


def _sandbox_problems(sandboxes: Sequence[Body], agents: frozenset[str] | None) -> Iterator[str]:
    """Of each that is not ready, why; `agents`: the nodes that have one, None: it is here."""
    for body in sandboxes:
        state, why = outlook(body)
        if state == "ready":
            continue
        meta, node = body["metadata"], body["spec"].get("nodeName")
        scheduled = condition(body, "Scheduled")
        if agents is not None and node is None:
            why = scheduled.get("message") or "no node was chosen for it yet: the operator does so"
        elif agents is not None and node not in agents:
            why = f"node {node} has no agent: see above"
        elif agents is not None:
            why = why.replace("`podnet ", "`kubectl podnet ")
        yield _sentence(f"PodSandbox {meta['namespace']}/{meta['name']}", "", standing(body), why)


def _sentence(name: str, claim: str, reason: str, message: str) -> str:
    of_what = f"{claim} is False" if claim else "is not ready"
    return f"{name} {of_what} ({reason})" + (f": {message}" if message else "")


def _shortened(rows: Sequence[Sequence[str]]) -> Sequence[Sequence[str]]:
    """Those that are not well, and of the others as many as fit."""
    room = NODES_SHOWN
    shown = []
    for row in rows:
        ready, _, all_of_them = row[2].partition("/")
        well = row[1] == "Running" and ready == all_of_them
        if well:
            room -= 1
        if not well or room >= 0:
            shown.append(row)
    return shown


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    columns = Columns([headings, *rows])
    yield columns.line(headings, [BOLD] * len(headings))
    for row in rows:
        colours = [
            colour_of(cell) if heading in ("AGENT", "READY") and "/" not in cell else ""
            for heading, cell in zip(headings, row, strict=True)
        ]
        yield columns.line(row, colours)

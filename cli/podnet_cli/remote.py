"""`kubectl podnet`: the same program, for a cluster. It asks the API server, and through it the
agent of the node that a sandbox is on."""

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from podnet.kinds import CLUSTER_KINDS, GROUP
from podnet_cli import attachments, containers, overview, wires
from podnet_cli.client import Failure, parsed
from podnet_cli.commands import Commands
from podnet_cli.commands import run as run_command
from podnet_cli.kubectl import SYSTEM, Kubectl, inside
from podnet_cli.reasons import attached_of, form_option, sandbox_of, show, words_argument
from podnet_cli.resources import sandbox_name

Parameters = Mapping[str, Any]
PROGRAM = "kubectl podnet"
KUBECTLS = ("get", "describe", "apply", "delete", "wait")
"""kubectl's own verbs, which know podnet's kinds as they know all others."""
MACHINES = ("up", "down", "run", "plan", "agent")
"""What only one machine without a cluster has."""
WHERE = {
    "status": "remote:status",
    "explain": "remote:explain",
    "exec": "remote:execute",
    "logs": "remote:logs",
    "attach": "remote:attach",
    "detach": "remote:detach",
    "doctor": "remote:doctor",
    **{verb: f"remote:{verb}" for verb in KUBECTLS},
    "version": "remote:version",
    **dict.fromkeys(MACHINES, "remote:elsewhere"),
}
CLUSTER = (
    click.Option(["-n", "--namespace"], metavar="NAME", help="The context's when left out."),
    click.Option(["--context"], metavar="NAME", help="Which context of the kubeconfig."),
    click.Option(["--kubeconfig"], metavar="FILE", help="Which kubeconfig."),
)
"""What kubectl takes with every command; before its name or behind it."""


def run(arguments: Sequence[str]) -> int:
    """Run the command that the arguments name; returns the exit code."""
    words = ["version" if word == "--version" else word for word in arguments[:1]]
    return run_command(PROGRAM, [*words, *arguments[1:]], kubectl_podnet)


@click.group(
    cls=Commands,
    where=WHERE,
    params=[*CLUSTER],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def kubectl_podnet(**_: Any) -> None:
    """What podnet does in this cluster, and why.

    All of it goes through the API server, by kubectl. explain, exec, logs, attach, detach and
    doctor run in the Pod of a node's agent: whoever may do that is root there.
    """


def _option(params: Parameters, name: str) -> str | None:
    given: str | None = params.get(name)
    return given or click.get_current_context().find_root().params.get(name)


def _cluster(params: Parameters) -> Kubectl:
    return Kubectl(_option(params, "context"), _option(params, "kubeconfig"))


@click.command(params=[*CLUSTER])
def status(**params: Any) -> int:
    """Show what runs, and what is wrong.

    The exit code is 1 where something is wrong.
    """
    kinds = ",".join(f"{kind.plural}.{GROUP}" for kind in CLUSTER_KINDS)
    objects, nodes, pods = _cluster(params).ask(
        ["get", kinds, "--all-namespaces"],
        ["get", "nodes"],
        ["get", "pods", "--namespace", SYSTEM],
    )
    found = overview.of_cluster(nodes["items"], pods["items"], objects["items"])
    print("\n".join(overview.lines(found)))
    return 1 if found.problems else 0


@click.command(params=[*CLUSTER])
@words_argument
@form_option
def explain(words: tuple[str, ...], form: str | None, **params: Any) -> int:
    """Show what in its node's kernel makes a sandbox work, and why; of a Pod with pod/NAME.

    Each object: is it right, which field caused it, which command would have made it. Where the
    node's agent can't be asked, how the sandbox is wired by its status. The exit code is 1 where
    something is not right.
    """
    cluster = _cluster(params)
    if attached := attached_of(words, ""):
        plural, _, name = attached
        if plural != "pods":
            raise Failure("a container that is no Pod's is known on its node alone: podnet there")
        return _explain_pod(cluster, cluster.pod(name, _option(params, "namespace")), form)
    sandbox = cluster.sandbox(sandbox_of(words), _option(params, "namespace"))
    node = sandbox["spec"]["nodeName"]
    on_node = ("--field-selector", f"spec.nodeName={node}")
    (neighbours,) = cluster.ask(["get", f"podsandboxes.{GROUP}", "--all-namespaces", *on_node])
    try:
        body = _explained(cluster, cluster.agent(node), sandbox["metadata"], "psb")
    except Failure as failure:
        show({"sandbox": sandbox, "lines": []}, neighbours["items"], form)
        raise Failure(f"{failure}: so this is what the status holds, and no more") from None
    return show(body, neighbours["items"], form)


def _explain_pod(cluster: Kubectl, pod: Parameters, form: str | None) -> int:
    agent = cluster.agent(pod["spec"]["nodeName"])
    body = _explained(cluster, agent, pod["metadata"], "pod")
    ports = _said(cluster, agent, "get", "attachments", "--output", "json")["items"]
    return show(body, attachments.ports(ports), form)


def _explained(cluster: Kubectl, agent: str, meta: Parameters, kind: str) -> dict[str, Any]:
    inside_of, which = ("--namespace", meta["namespace"]), f"{kind}/{meta['name']}"
    return _said(cluster, agent, *inside_of, "explain", "--output", "json", which)


def _said(cluster: Kubectl, agent: str, *command: str) -> dict[str, Any]:
    """The JSON that podnet prints on an agent's node."""
    _, out, error = cluster.output(inside(agent, *command))
    try:
        body: dict[str, Any] = parsed(out.decode().strip())
    except ValueError:
        said = error.decode(errors="replace").strip()
        raise Failure(said.removeprefix("error: ") or f"{agent} has said nothing") from None
    return body


def _on_the_node(name: str, original: click.Command, more: str = "") -> click.Command:
    """The same command of the same program, in the Pod of the agent of the sandbox's node."""
    own = [param for param in original.params if param.name != "namespace"]
    (first, *_) = (param.name for param in own if isinstance(param, click.Argument))

    def forward(**params: Any) -> int:
        cluster = _cluster(params)
        wanted = sandbox_name(params[str(first)])
        sandbox = cluster.sandbox(wanted, _option(params, "namespace"))
        pod = cluster.agent(sandbox["spec"]["nodeName"])
        tty = params["tty"] = containers.has_terminal(bool(params.get("tty")))
        held = params["held"] = bool(params.get("follow"))
        params[str(first)] = wanted
        command = ("--namespace", sandbox["metadata"]["namespace"], name, *_words(own, params))
        arguments = inside(pod, *command, stdin=held or bool(params.get("stdin")), tty=tty)
        if tty:
            cluster.become(arguments)
        return cluster.passed_on(arguments, held=held)

    text = "\n\n".join(filter(None, [original.help, more]))
    settings = original.context_settings
    return click.Command(
        name,
        settings,
        callback=forward,
        params=[*own, *CLUSTER],
        help=text.replace("podnet", PROGRAM),
    )


def _words(params: Sequence[click.Parameter], given: Parameters) -> list[str]:
    """The command line that these are parsed from: options, two dashes, arguments."""
    options: list[str] = []
    arguments: list[str] = []
    for param in params:
        value = given.get(param.name or "")
        several = list(value) if isinstance(value, tuple) else [] if value is None else [value]
        if isinstance(param, click.Argument):
            arguments += map(str, several)
        elif isinstance(param, click.Option) and param.is_flag:
            options += param.opts[-1:] if value else []
        else:
            options += [f"{param.opts[-1]}={each}" for each in several]
    return [*options, "--", *arguments]


_BY_HAND = """The node's agent keeps it in mind, not the API server: it lasts as long as the
sandbox's network namespace, and its status shows it."""
execute = _on_the_node("exec", containers.execute)
logs = _on_the_node("logs", containers.logs)
attach = _on_the_node("attach", wires.attach, _BY_HAND)
detach = _on_the_node("detach", wires.detach)


@click.command(params=[*CLUSTER])
@click.option("--node", "wanted", multiple=True, metavar="NAME", help="Only this node.")
def doctor(wanted: tuple[str, ...], **params: Any) -> int:
    """Say what each node lacks, and how to get it.

    The exit code is 1 where something is missing.
    """
    cluster = _cluster(params)
    pods = {node: cluster.agent(node) for node in wanted} or cluster.agents()
    worst = 0
    for node, pod in sorted(pods.items()):
        print(f"# {node}")
        worst = max(worst, cluster.passed_on(inside(pod, "doctor")))
    return worst


@click.command(params=[*CLUSTER])
def version(**params: Any) -> None:
    """Print the versions of this program and of the images."""
    from importlib.metadata import version as installed

    print(f"podnet {installed('podnet')}")
    (pods,) = _cluster(params).ask(["get", "pods", "--namespace", SYSTEM])
    for image in sorted(
        {each["image"] for pod in pods["items"] for each in pod["spec"]["containers"]}
    ):
        print(image)


def _kubectls(verb: str) -> click.Command:
    @click.command(
        verb,
        add_help_option=False,
        short_help=f"The same as kubectl {verb}.",
        context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def command(arguments: tuple[str, ...]) -> NoReturn:
        namespace = _option({}, "namespace")
        before = ["--namespace", namespace] if namespace else []
        _cluster({}).become([verb, *before, *arguments])

    return command


get, describe, apply, delete, wait = map(_kubectls, KUBECTLS)


@click.command(
    hidden=True,
    add_help_option=False,
    context_settings={"ignore_unknown_options": True},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def elsewhere(ctx: click.Context, arguments: tuple[str, ...]) -> NoReturn:
    """Say what to do instead."""
    raise Failure(
        f"{ctx.info_name} is for one machine without a cluster: here, write a PodSandbox and"
        f" `kubectl apply -f` it"
    )

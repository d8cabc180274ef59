"""The cluster, asked through kubectl: whom it trusts, which cluster is meant, how a terminal is
passed on, are its matters and not ours."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

from podnet.kinds import GROUP
from podnet_cli.client import Failure
from podnet_cli.overview import AGENT, DESCRIBE_POD, pod_state
from podnet_cli.tables import condition

Body = dict[str, Any]
SYSTEM = "podnet-system"
"""The namespace of podnet's own Pods (deploy/base)."""
ANSWER_SECONDS = 20
"""How long one question may take; a server that is away would be waited for without end."""
INTERRUPTED = (signal.SIGTERM, signal.SIGHUP)
_POSTSCRIPT = b"command terminated with exit code "
"""What kubectl adds behind all that a command has said; the exit code says it already."""
_UNREACHABLE = ("connect to the server", "was refused", "no such host", "no configuration has been")
PIECE_BYTES = 1 << 16


class Kubectl:
    """kubectl with the options that say which cluster is meant."""

    def __init__(self, context: str | None = None, kubeconfig: str | None = None) -> None:
        self._command = ["kubectl"]
        if context:
            self._command += ["--context", context]
        if kubeconfig:
            self._command += ["--kubeconfig", kubeconfig]

    def ask(self, *questions: Sequence[str]) -> list[Any]:
        """What `kubectl get ...` answers to each, asked together."""
        limit = ("--request-timeout", f"{ANSWER_SECONDS}s", "--output", "json")
        running = [
            self._start([*question, *limit], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for question in questions
        ]
        answers = []
        for process in running:
            out, error = process.communicate()
            if process.returncode:
                raise _failure(error.decode(errors="replace"))
            answers.append(json.loads(out))
        return answers

    def become(self, arguments: Sequence[str]) -> NoReturn:
        """This process goes on as kubectl: its terminal, signals and exit code are kubectl's."""
        sys.stdout.flush()
        try:
            os.execvp("kubectl", [*self._command, *arguments])
        except FileNotFoundError:
            raise _no_kubectl() from None

    def passed_on(self, arguments: Sequence[str], *, held: bool = False) -> int:
        """Its exit code; what it says goes where ours goes, but for what it adds itself.

        `held`: its input ends when this process does, and not before.
        """
        sys.stdout.flush()
        stdin = subprocess.PIPE if held else None
        with self._start(arguments, stdin=stdin, stderr=subprocess.PIPE) as process:
            for number in INTERRUPTED:
                signal.signal(number, lambda got, _: process.send_signal(got))
            assert process.stderr is not None
            pieces = iter(lambda: os.read(process.stderr.fileno(), PIECE_BYTES), b"")  # type: ignore[union-attr]
            for text in without_postscript(pieces):
                sys.stderr.buffer.write(text)
                sys.stderr.buffer.flush()
        return _exit_code(process.returncode)

    def output(self, arguments: Sequence[str]) -> tuple[int, bytes, bytes]:
        """Its exit code, and what it says, without what it adds itself."""
        with self._start(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            out, error = process.communicate()
        return _exit_code(process.returncode), out, b"".join(without_postscript([error]))

    def _start(self, arguments: Sequence[str], **streams: Any) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen([*self._command, *arguments], **streams)
        except FileNotFoundError:
            raise _no_kubectl() from None

    # --- what is where ---

    def sandbox(self, name: str, namespace: str | None) -> Body:
        """The PodSandbox, which has a node."""
        (found,) = self.ask(["get", f"podsandboxes.{GROUP}", name, *_in(namespace)])
        if not found["spec"].get("nodeName"):
            why = condition(found, "Scheduled").get("message") or "the operator chooses one"
            raise Failure(f"podsandbox {name} has no node yet: {why}")
        body: Body = found
        return body

    def pod(self, name: str, namespace: str | None) -> Body:
        """The Pod, which has a node, and a network that is not the node's."""
        (found,) = self.ask(["get", "pod", name, *_in(namespace)])
        if found["spec"].get("hostNetwork"):
            raise Failure(f"pod {name} is in its node's network, so nothing of it is podnet's")
        if not found["spec"].get("nodeName"):
            raise Failure(f"pod {name} has no node yet: kubectl describe pod {name} says why")
        body: Body = found
        return body

    def agent(self, node: str) -> str:
        """The name of the Pod of that node's agent, which runs."""
        (found,) = self.ask([*_PODS, "--field-selector", f"spec.nodeName={node}"])
        states = {pod["metadata"]["name"]: pod_state(pod) for pod in found["items"]}
        for pod, state in states.items():
            if state == "Running":
                return str(pod)
        if not states:
            raise Failure(
                f"node {node} has no agent, and only that one can be asked:"
                f" kubectl -n {SYSTEM} describe daemonset {AGENT}"
            )
        pod, state = states.popitem()
        raise Failure(
            f"the agent of node {node} does not run ({state}), and only that one can be asked:"
            f" {DESCRIBE_POD.format(pod)}"
        )

    def agents(self) -> dict[str, str]:
        """The Pods of all agents that run, by node."""
        (found,) = self.ask(_PODS)
        return {
            pod["spec"]["nodeName"]: pod["metadata"]["name"]
            for pod in found["items"]
            if pod_state(pod) == "Running"
        }


_PODS = ("get", "pods", "--namespace", SYSTEM, "--selector", f"app.kubernetes.io/name={AGENT}")


def inside(pod: str, *command: str, stdin: bool = False, tty: bool = False) -> list[str]:
    """kubectl's arguments for `podnet COMMAND` in an agent's Pod, on its node's socket."""
    streams = [*(["--stdin"] if stdin else []), *(["--tty"] if tty else [])]
    return [
        *("exec", "--namespace", SYSTEM, pod, "--container", "agent", *streams),
        *("--", "podnet", *command),
    ]


def without_postscript(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What a command said, as it comes, without the line that kubectl adds at its end."""
    held = b""
    for piece in pieces:
        held += piece
        at = held.rfind(_POSTSCRIPT)
        if at < 0:
            at = len(held) - next(
                (n for n in range(len(_POSTSCRIPT), 0, -1) if held.endswith(_POSTSCRIPT[:n])), 0
            )
        yield held[:at]
        held = held[at:]
    if not re.fullmatch(re.escape(_POSTSCRIPT) + rb"\d+\n?", held):
        yield held


def _in(namespace: str | None) -> Sequence[str]:
    return ["--namespace", namespace] if namespace else []


def _exit_code(code: int) -> int:
    """As a shell has it: 128 + the number of the signal that ended it."""
    return code if code >= 0 else 128 - code


def _no_kubectl() -> Failure:
    return Failure("kubectl is not there, and the cluster is asked through it: install it")


def _failure(said: str) -> Failure:
    """kubectl's last line, and the remedy where that is none yet."""
    lines = [line for line in said.splitlines() if line.strip()] or ["kubectl failed"]
    last = lines[-1].removeprefix("error: ")
    if "have a resource type" in last:
        return Failure("this cluster has no podnet: kubectl apply -k deploy/overlays/kind")
    if any(word in last for word in _UNREACHABLE):
        return Failure(f"no cluster answers ({last}): name another one with --context")
    return Told(last)


class Told(Failure):
    """kubectl's own sentence, which names what and why."""

    @property
    def text(self) -> str:
        """As kubectl printed it."""
        return str(self) if str(self).startswith("Error") else super().text

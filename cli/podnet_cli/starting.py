"""An agent for a command that needs one: started beside it where none runs."""

import fcntl
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from podnet_cli.client import Away, CutOff, Failure, Refused, Request, call, log_path

START_SECONDS = 30.0
"""How long an agent may take to take over what it finds; one without anything needs 0.5 s."""
END_SECONDS = 10.0
"""How long an agent may take to end once it has taken all away."""
POLL_SECONDS = 0.01


def agent_command(verb: str, *arguments: str) -> list[str]:
    """The agent's program; -P keeps the folder we are in from being searched for modules."""
    return [sys.executable, "-P", "-m", "podnet_agent", verb, *arguments]


def become_agent(verb: str, arguments: Sequence[str] = ()) -> NoReturn:
    """This process goes on as the agent's program."""
    sys.stdout.flush()
    os.execv(sys.executable, agent_command(verb, *arguments))


def call_or_start(method: str, path: str, body: Any = None) -> Any:
    """Ask the agent; where none runs, start one and ask it.

    What an agent that was started for this refuses leaves none running, if it has nothing to keep.
    """
    try:
        return call(method, path, body)
    except Away:
        start()
    try:
        return call(method, path, body)
    except Refused:
        if not call("GET", "/objects/podsandboxes")["items"]:
            down()
        raise


def plan(body: Any) -> Any:
    """The agent's plan; where none runs, that of one which ends when it has answered."""
    try:
        return call("POST", "/plan", body)
    except Away:
        import json
        import subprocess

        done = subprocess.run(
            agent_command("plan"), input=json.dumps(body).encode(), stdout=subprocess.PIPE
        )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise Failure("the agent's program could not plan: see above") from None
    if done.returncode:
        raise Refused(answer)
    return answer


def down() -> Any:
    """Have the agent take everything away; its answer, once its process has ended."""
    request = Request("POST", "/down")
    process = os.pidfd_open(request.agent_pid())
    try:
        answer = request.answer()
        if not select.select([process], [], [], END_SECONDS)[0]:
            raise Failure(
                f"the agent has taken all away but has not ended: {log_path()} may say why"
            )
    finally:
        os.close(process)
    return answer


def start() -> None:
    """Afterwards an agent answers; it outlives this process. One of two that do this starts it."""
    need_root()
    folder = os.path.dirname(log_path())
    os.makedirs(folder, mode=0o700, exist_ok=True)
    with open(f"{folder}/start.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not answers():
            _start()


def need_root() -> None:
    """Failure where this process is not root's."""
    if os.geteuid() != 0:
        raise Failure("podnet makes namespaces and links: run it as root")


def answers() -> bool:
    """Whether an agent answers."""
    try:
        call("GET", "/version")
    except (Away, CutOff):
        return False
    return True


def until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Wait until it is so; False when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _start() -> None:
    import subprocess  # costs `run` 2 ms where an agent runs already

    with open(log_path(), "ab") as log:
        begin = log.tell()
        process = subprocess.Popen(
            agent_command("serve"),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            start_new_session=True,
        )
    if not until(lambda: process.poll() is not None or answers(), START_SECONDS):
        process.send_signal(signal.SIGTERM)
        raise Failure(f"the agent did not answer within {START_SECONDS:.0f} s: see {log_path()}")
    if process.returncode is not None:
        raise Failure(f"the agent did not start: {_last_line(begin)}")


def _last_line(begin: int) -> str:
    with open(log_path(), "rb") as log:
        log.seek(begin)
        lines = log.read().decode(errors="replace").split("\n")
    said = [line for line in lines if line.strip()]
    return said[-1].removeprefix("podnet-agent: ") if said else "it said nothing"

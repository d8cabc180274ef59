"""An agent without its daemon, in a private host: what it decides, does and sees, one call a time.

    test ──pickles──► this module, run in the host ──► podnet_agent.agent.Agent and its Kernel

`Node(host).plan()` runs `Inside.plan` there and returns what that returned. Each of them has a
process, a store and networks of its own.
"""

import contextlib
import importlib
import os
import pickle
import select
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

from podnet.attachment import Attachment
from podnet.network import Network
from podnet.network import Node as Machine
from podnet.objects import Observed
from podnet.plan import Operation, Plan
from support.host import Host, HostError
from support.values import NETWORK, NODE, request, sandboxed

ROOT = Path(__file__).parents[2]
IMPORTS = os.pathsep.join(str(ROOT / folder) for folder in ("core", "nodeagent", "tests"))


class Node:
    """The test's side; a method for each of Inside's."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self._process = host.popen(
            [sys.executable, "-m", "support.node"],
            env={**os.environ, "PYTHONPATH": IMPORTS},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def call(self, function: Callable[..., Any] | str, *args: Any, **kwargs: Any) -> Any:
        """Run a method of Inside, or a function that can be imported there; its result."""
        name = (
            function
            if isinstance(function, str)
            else f"{function.__module__}:{function.__qualname__}"
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        pickle.dump((name, args, kwargs), self._process.stdin)
        self._process.stdin.flush()
        try:
            done, result = pickle.load(self._process.stdout)
        except EOFError:
            raise HostError(f"the node ended: exit {self._process.wait()}") from None
        if not done:
            error, said = result
            error.add_note(said)
            raise error
        return result

    def networks(self, *networks: Network, machine: Machine = NODE) -> Plan:
        """Build these networks, and no others; what was done for it."""
        plan: Plan = self.call("networks", networks, machine)
        return plan

    def attach(self, name: str = "web", network: Network = NETWORK, **fields: Any) -> Attachment:
        """Make a sandbox's namespace and wire it, as a PodSandbox in bridge mode would be."""
        attachment: Attachment = self.call("attach", name, network.name, fields)
        return attachment

    def detach(self, name: str) -> None:
        """Take the sandbox away, with its namespace and its link."""
        self.call("detach", name)

    def look(self, *, pods: bool = True) -> Observed:
        """What the kernel holds, of the sandboxes' namespaces too."""
        observed: Observed = self.call("look", pods)
        return observed

    def plan(self, *, pods: bool = True) -> Plan:
        """What would be done now."""
        plan: Plan = self.call("plan", pods)
        return plan

    def reconcile(self, *, pods: bool = True) -> Plan:
        """Do it."""
        plan: Plan = self.call("reconcile", pods)
        return plan

    def reconcile_on(self, observed: Observed) -> Plan:
        """Do it by a look that others have overtaken meanwhile."""
        plan: Plan = self.call("reconcile_on", observed)
        return plan

    def commits(self) -> int:
        """The transactions of nftables so far."""
        commits: int = self.call("commits")
        return commits

    def heard(self) -> bool:
        """Whether, since the last call, the kernel told of something that concerns podnet."""
        heard: bool = self.call("heard")
        return heard


class Inside:
    """The host's side. Its records are gone with it, unless `store` is a file."""

    def __init__(self, store: str = ":memory:") -> None:
        from podnet_agent.agent import Agent
        from podnet_agent.events import Events
        from podnet_agent.forward import Forward
        from podnet_agent.kernel import Kernel
        from podnet_agent.looking import Looker
        from podnet_agent.nft import Table
        from podnet_agent.paths import Paths
        from podnet_agent.ports import Ports
        from podnet_agent.store import Store

        Paths().prepare()
        self.table = Table()
        kernel = Kernel(self.table, Forward())
        self.agent = Agent(Store(store), kernel, Ports(), NODE)
        self.looker = Looker()
        self.events = Events()

    def networks(self, networks: tuple[Network, ...], machine: Machine) -> Plan:
        self.agent.node = machine
        self.agent.networks = {network.name: network for network in networks}
        return self.reconcile(True)

    def attach(self, name: str, network: str, fields: dict[str, Any]) -> Attachment:
        return self.agent.attach(request(name, network=network, **fields), sandboxed(name))

    def make_namespace(self, name: str) -> None:
        self.agent.make_namespace(sandboxed(name))

    def unwire(self, name: str) -> None:
        self.agent.detach(name, "eth0")

    def detach(self, name: str) -> None:
        self.agent.demolish(name)
        self.agent.kernel.sweep()

    def apply(self, operations: tuple[Operation, ...]) -> None:
        self.agent.kernel.apply(operations)
        self.agent.kernel.sweep()

    def attaches_beside_a_sweep(
        self, name: str, network: str, fields: dict[str, Any], seconds: float
    ) -> bool:
        """Whether it came to its end in that time, while links were just being deleted."""
        attaching = threading.Thread(target=self.attach, args=(name, network, fields))
        with self.agent.kernel._sweeping:  # as where the kernel takes its time
            self.agent.kernel.waiting = False
            attaching.start()
            attaching.join(seconds)
            is_done = not attaching.is_alive()
        attaching.join()
        return is_done

    def unwire_behind_a_sweep(self, name: str) -> bool:
        """A sweep comes just before the link is in the trash: whether it still waits for one."""
        from podnet_agent import kernel as module

        kernel, batch = self.agent.kernel, module.batch

        def late(messages: Any, first: int) -> bytes:
            if not kernel._sweeping.locked():
                kernel.sweep()
            return batch(messages, first)

        with mock.patch.object(module, "batch", late):
            self.unwire(name)
        return kernel.waiting

    def look(self, pods: bool) -> Observed:
        self.agent.dropping = self.agent.kernel.forward.dropping()
        return self.looker(self.agent.question(self.agent.homes() if pods else ()))

    def plan(self, pods: bool) -> Plan:
        return self.agent.plan(self.look(pods))

    def reconcile(self, pods: bool) -> Plan:
        return self.agent.reconcile(self.look(pods))

    def reconcile_on(self, observed: Observed) -> Plan:
        return self.agent.reconcile(observed)

    def commits(self) -> int:
        return self.table.commits

    def heard(self) -> bool:
        heard = False
        while select.select([self.events], [], [], 0)[0]:
            heard |= self.events.read()
        return heard


def _function(inside: Inside, name: str) -> Callable[..., Any]:
    module, _, rest = name.rpartition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module) if module else inside, rest)
    return found


def main() -> None:
    """Answer calls until there are none."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what else is printed is no answer
    inside = Inside()
    with contextlib.suppress(EOFError):
        while True:
            name, args, kwargs = pickle.load(sys.stdin.buffer)
            try:
                answer = (True, _function(inside, name)(*args, **kwargs))
            except Exception as error:  # noqa: BLE001 (whatever it is, the test is told)
                answer = (False, (error, traceback.format_exc()))
            pickle.dump(answer, answers)
            answers.flush()


if __name__ == "__main__":
    main()


def words(plan: Plan) -> list[str]:
    """Which verb is done to which object, as `verb kind name`."""
    return [
        f"{type(each).__name__} {each.what.key[0]} {each.what.key[2]}" for each in plan.operations
    ]

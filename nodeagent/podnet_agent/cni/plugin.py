"""The verbs: each a question to the agent, or a change by it. The writer's alone."""

import os
from functools import lru_cache

from podnet.attachment import AttachRequest
from podnet.cni.call import Call
from podnet.cni.error import CniError, Code, bad_environment
from podnet.cni.result import Body, compare, result_body
from podnet.desired import EVERYWHERE, attachment_objects
from podnet.errors import Conflict, PodNetError, Retryable
from podnet.explain import explain
from podnet.objects import Netns, Observed
from podnet_agent import namespaces
from podnet_agent.agent import Agent
from podnet_agent.namespaces import NoSuchInterface
from podnet_agent.store import Record


class Plugin:
    """What a runtime may ask of the agent. A PodNetError is a refusal, nothing was done then."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def answer(self, call: Call) -> Body | None:
        """Do it: the result of an ADD, nothing of the others. CHECK needs a look: see `check`."""
        match call.verb:
            case "ADD":
                return self.add(call)
            case "DEL":
                self.delete(call)
            case "GC":
                self.collect(call)
            case "STATUS":
                self.status(call)
        return None

    def add(self, call: Call) -> Body:
        """Attach, by the way of every attachment; a second ADD is a Conflict, the first stays."""
        attachment = self._agent.attach(request_of(call, self._agent.kernel.home))
        network = self._agent.network(attachment.request.network)
        return result_body(call, network, attachment)

    def delete(self, call: Call) -> None:
        """Nothing of it is left but its link for some milliseconds; nothing there is success."""
        self._agent.detach(call.container_id, call.ifname)

    def collect(self, call: Call) -> None:
        """GC: undo what this CNI network attached and nobody knows any more. Goes on over errors.

        Where the list is missing nobody has said that anything is unwanted.
        """
        if call.config.valid is None:
            return
        errors: list[PodNetError] = []
        for record in self._agent.store.records():
            request = record.attachment.request
            attached = (request.sandbox_id, request.ifname)
            if request.cni == call.config.name and attached not in call.config.valid:
                try:
                    self._agent.detach(*attached)
                except PodNetError as error:
                    errors.append(error)
        if errors:
            raise Retryable("; ".join(str(error) for error in errors))

    def status(self, call: Call) -> None:
        """Whether an ADD could be served; code 50 says why not, 51 that pods there suffer too."""
        try:
            network = self._agent.attachable(call.config.network)
            self._agent.kernel.index(network.bridge)
            self._agent.store.refuse_full(network)
        except Conflict as error:
            raise CniError(
                Code.NOT_AVAILABLE_AND_LIMITED, "pods may lack connectivity", str(error)
            ) from error
        except NoSuchInterface as error:
            raise CniError(Code.NOT_AVAILABLE, "not ready", f"{error.strerror} yet") from error
        except PodNetError as error:
            raise CniError(Code.NOT_AVAILABLE, "not ready", str(error)) from error

    def recorded(self, call: Call) -> Record:
        """What CHECK is about; code 3 where nothing of that name is attached."""
        record = self._agent.store.find(call.container_id, call.ifname)
        if record is None or record.state != "ready":
            raise CniError(
                Code.UNKNOWN_CONTAINER,
                "unknown container",
                f"{call.container_id} has no interface {call.ifname} of podnet's",
            )
        return record

    def check(self, call: Call, observed: Observed) -> None:
        """The kernel holds all that ADD made, and the result names it; else code 101."""
        attachment = self.recorded(call).attachment
        request = attachment.request
        if not request.is_of(namespaces.cookie(call.netns)):
            raise CniError(
                Code.DIFFERS,
                "not as ADD left it",
                f"{call.netns} is not the network namespace that {request.ifname} was made in",
            )
        compare(call.config.previous or {}, attachment)
        objects = attachment_objects(self._agent.network(request.network), attachment)
        wrong = [line for line in explain(objects, observed) if line.verdict != "right"]
        if wrong:
            said = [f"{' '.join(filter(None, each.what.key))} {each.verdict}" for each in wrong]
            raise CniError(Code.DIFFERS, "not as ADD left it", "; ".join(said))


@lru_cache(maxsize=64)
def _real(folder: str) -> str:
    """/var/run is a link to /run: two paths to one namespace would be two places to look at.

    Remembered: a runtime has one folder, and to resolve it is a system call for each part.
    """
    return os.path.realpath(folder)


def request_of(call: Call, home: int | None = None) -> AttachRequest:
    """What ADD asks of the one attachment path. The namespace is checked before all else.

    `home`: the thread's own network namespace, where it is open anyway.
    """
    cookie = namespaces.cookie(call.netns, home)
    if cookie is None:
        raise bad_environment("CNI_NETNS", f"{call.netns} is no network namespace")
    if cookie == namespaces.own_cookie():
        raise bad_environment("CNI_NETNS", f"{call.netns} is the node's own network namespace")
    folder, name = os.path.split(call.netns)
    config = call.config
    return AttachRequest(
        sandbox_id=call.container_id,
        ifname=call.ifname,
        netns=Netns(os.path.join(_real(folder), name)),
        network=config.network,
        owner=call.owner,
        addresses=config.addresses,
        mac=config.mac,
        ports=config.ports,
        routes=EVERYWHERE,
        cni=config.name,
        netns_cookie=cookie,
    )

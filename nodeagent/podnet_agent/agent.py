"""The agent's decisions on this node: attach, detach, refresh, reconcile, explain.

Synchronous and without a lock: it is called by whose turn it is to write (threads.py).
"""

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from podnet.addresses import IPAddress
from podnet.attachment import Attachment, AttachRequest
from podnet.desired import (
    DroppingChain,
    NodeState,
    Sandboxed,
    attachment_objects,
    bridge_key,
    desired,
    namespace_objects,
    residue,
)
from podnet.errors import Conflict, PodNetError, PodNetworkMissing, Retryable
from podnet.explain import Line, explain
from podnet.network import Network, Node
from podnet.objects import (
    HOST,
    NOTHING,
    KernelObject,
    Key,
    Namespace,
    Netns,
    Observed,
    Sysctl,
)
from podnet.plan import Add, Operation, Plan, as_seen, plan
from podnet_agent import namespaces, settings
from podnet_agent.kernel import ApplyError, Kernel, translate
from podnet_agent.pending import is_in, with_younger, without_basis, without_younger
from podnet_agent.ports import Ports
from podnet_agent.store import Record, Store

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """What an observation has to look for; made by the writer, answered by the reader."""

    newest: int
    wanted: Collection[Key]
    sysctls: Mapping[str, str | None]  # host values by name, with what stood there before podnet
    namespaces: tuple[Netns, ...]
    borrowed: frozenset[Netns] = frozenset()  # of those, the ones that a CNI runtime made


@dataclass
class Agent:
    """The one attachment path, the one plan."""

    store: Store
    kernel: Kernel
    ports: Ports
    node: Node
    networks: Mapping[str, Network] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)  # those nobody new is attached to: why
    dropping: tuple[DroppingChain, ...] = ()
    conflicts: tuple[Conflict, ...] = ()  # of the last reconcile
    lost: frozenset[Netns] = frozenset()  # namespaces the last reconcile missed
    foreign: Collection[Key] = frozenset()  # what the last reconcile found in ours' place
    kept: list[str] = field(default_factory=list)  # settings left to others so far, as sentences
    attachments: int = 0  # made and undone so far: another number, other addresses in use
    _parting: set[Netns | IPAddress] = field(default_factory=set)  # of links that wait to be swept

    def attach(self, request: AttachRequest, namespace: Sandboxed | None = None) -> Attachment:
        """Wire one interface of one sandbox, or leave nothing behind. For every kind of sandbox.

        With `namespace` the sandbox's network namespace is made first, in the same plan.
        """
        network = self.attachable(request.network)
        attachment = self.store.reserve(network, request)
        try:
            self._sweep_before(attachment)
            self.ports.hold(attachment.number, request.ports)
            self._make(attachment_objects(network, attachment), namespace)
        except BaseException:
            self._parting |= _traces(attachment)  # undone, it waits to be swept like any other
            self.ports.release(attachment.number)
            self.store.release(attachment.number)
            raise
        self.store.complete(attachment.number, namespace.sandbox_id if namespace else None)
        self.attachments += 1
        return attachment

    def attachable(self, name: str) -> Network:
        """The network, if somebody new can be attached to it; else Retryable or Conflict."""
        network = self.network(name)
        if network.name in self.closed:
            raise Retryable(self.closed[network.name])
        if bridge_key(network) in self.foreign:
            raise Conflict(
                f"link {network.bridge} is not podnet's; {network.cause} spec.bridge.name wants it:"
                f" remove it, or delete the network and choose another name"
            )
        return network

    def make_namespace(self, namespace: Sandboxed) -> None:
        """A network namespace with nothing but `lo`: mode None."""
        self._make((), namespace)
        self.store.complete_namespace(namespace.sandbox_id)

    def detach(self, sandbox_id: str, ifname: str) -> bool:
        """Undo an attachment; False when there is none. A namespace that is gone is no obstacle."""
        record = self.store.find(sandbox_id, ifname)
        if record is None:
            return False
        self._undo(record)
        return True

    def is_displaced(self, sandbox_id: str) -> bool:
        """Whether it has an address of a share that is not this node's any more."""
        for record in self.store.of_sandbox(sandbox_id):
            network = self.networks.get(record.attachment.request.network)
            if network is not None and any(
                not any(interface.ip in share for share in network.pod_cidrs)
                for interface in record.attachment.addresses
            ):
                return True
        return False

    def demolish(self, sandbox_id: str) -> None:
        """Undo everything of a sandbox: attachments, then its namespace. Goes on over errors.

        Once begun it is gone through with: by the next agent, if this one dies.
        """
        self.store.condemn(sandbox_id)
        errors: list[PodNetError] = []
        for record in self.store.of_sandbox(sandbox_id):
            try:
                self._undo(record)
            except PodNetError as error:
                errors.append(error)
        for namespace in self.store.namespaces("removing"):
            if namespace.sandbox_id == sandbox_id:
                made = as_seen(namespace_objects(namespace))
                self.kernel.apply(plan((), made).operations)
                self.store.drop_namespace(sandbox_id)
        if errors:
            sentences = "; ".join(str(error) for error in errors)
            raise Retryable(f"sandbox {sandbox_id} left something behind: {sentences}")

    def recover(self) -> None:
        """At start: what a dead agent left half done is undone, by the same undo as ever.

        What can't be undone now is said, and left to `reconcile`. What a runtime attached to a
        namespace that is gone can't come back, so its addresses are free again.
        """
        for record in self.strays():
            self.store.abandon(record.attachment.number)
        for error in self._finish():
            log.warning("%s", error)
        for record in self.store.records():
            if record.state == "ready":
                try:
                    self.ports.hold(record.attachment.number, record.attachment.request.ports)
                except PodNetError as error:  # taken meanwhile; it leads to the pod all the same
                    log.warning("%s: %s", record.attachment.request.owner, error)
        self.kernel.sweep()

    def _finish(self) -> list[PodNetError]:
        """Undo what is not whole: nothing is being made while this runs. Goes on over errors."""
        errors: list[PodNetError] = []
        for record in self.store.records():
            if record.state != "ready":
                try:
                    self._undo(record)
                except PodNetError as error:
                    errors.append(error)
        for namespace in self.store.namespaces("adding", "removing"):
            try:
                self.demolish(namespace.sandbox_id)
            except PodNetError as error:
                errors.append(error)
        return errors

    def strays(self) -> list[Record]:
        """What a runtime attached to a namespace that is not there, or not that one, any more."""
        return [
            record
            for record in self.store.records()
            if (request := record.attachment.request).cni
            and not request.is_of(namespaces.cookie(request.netns))
        ]

    def homes(self) -> tuple[Netns, ...]:
        """Every pod's namespace: podnet's own, and those that runtimes have made."""
        own = [each.path for each in self.store.namespaces("ready")]
        return tuple(dict.fromkeys([*own, *self._borrowed()]))

    def _borrowed(self) -> list[Netns]:
        requests = [each.attachment.request for each in self.store.records()]
        return [request.netns for request in requests if request.cni]

    def question(self, namespaces: Iterable[Netns] = ()) -> Question:
        """What has to be observed, of the node and of pods given, before anything is decided."""
        places = {HOST, *namespaces}
        objects = [thing for thing in desired(self.state()) if thing.netns in places]
        before: dict[str, str | None] = dict(self.store.facts.sysctls())
        for thing in objects:
            if isinstance(thing, Sysctl) and thing.netns == HOST:
                before.setdefault(thing.name, None)
        return Question(
            self.store.newest(),
            {thing.key for thing in objects},
            before,
            tuple(places - {HOST}),
            frozenset(places.intersection(self._borrowed())),
        )

    def plan(self, observed: Observed, state: NodeState | None = None) -> Plan:
        """What `podnet plan` prints and `reconcile` applies: the same value."""
        return plan(desired(state or self.state(observed.newest)), observed)

    def reconcile(self, observed: Observed) -> Plan:
        """Make the node as desired. `observed` was read in the reader thread, attaches went on.

        What fails is left for the next time; Retryable or Conflict says all of it. A namespace that
        is gone is not made anew here, where its containers are not known: it is in `lost`.
        """
        errors = self._finish()
        younger = [
            each for each in self.store.records() if each.attachment.number > observed.newest
        ]
        todo = self.plan(without_younger(observed, younger))
        self.conflicts = todo.conflicts
        self.foreign = {key for key, found in observed.seen.items() if not found.ours}
        made_anew = {
            operation.what.path
            for operation in todo.operations
            if isinstance(operation, Add) and isinstance(operation.what, Namespace)
        }
        self.lost = frozenset(path for path in made_anew if not namespaces.is_pinned(Path(path)))
        strays = {each.attachment.request.netns for each in self.strays() if todo.operations}
        pending = [each for each in todo.operations if not is_in(each.what, made_anew | strays)]
        pending = with_younger(pending, younger)
        pending, kept = settings.spare(self.store.facts, pending)
        self.kept += kept
        settings.record(self.store.facts, pending)
        if pending:
            self.kernel.forget_indexes()
        self._apply_all(pending, errors)
        settings.forget(self.store.facts, pending)
        return Plan(tuple(pending), todo.conflicts)

    def _apply_all(self, pending: Sequence[Operation], errors: list[PodNetError]) -> None:
        """Carry out what can be; then raise the first error with the sentences of all."""
        while pending:
            try:
                self.kernel.apply(pending)
                break
            except ApplyError as error:
                errors.append(translate(error))
                done = {*error.done, error.failed}
                pending = without_basis([each for each in pending if each not in done], error)
        if errors:
            sentences = "; ".join(str(error) for error in errors)
            raise type(errors[0])(sentences) from errors[0]

    def explain(self, sandbox_id: str, observed: Observed) -> tuple[Line, ...]:
        """The same objects that `attach` added, beside what the kernel holds now."""
        objects: list[KernelObject] = []
        for namespace in self.store.namespaces():
            if namespace.sandbox_id == sandbox_id:
                objects += namespace_objects(namespace)
        for record in self.store.of_sandbox(sandbox_id):
            network = self.network(record.attachment.request.network)
            objects += attachment_objects(network, record.attachment)
        return explain(objects, observed)

    def state(self, newest: int | None = None) -> NodeState:
        """Everything complete in the store; with `newest` only attachments up to that number."""
        ready = [record.attachment for record in self.store.records() if record.state == "ready"]
        return NodeState(
            node=self.node,
            networks=tuple(self.networks.values()),
            namespaces=self.store.namespaces("ready"),
            attachments=tuple(
                attachment for attachment in ready if newest is None or attachment.number <= newest
            ),
            dropping=self.dropping,
        )

    def network(self, name: str) -> Network:
        """The network as this node builds it; PodNetworkMissing where there is none."""
        try:
            return self.networks[name]
        except KeyError:
            known = ", ".join(sorted(self.networks)) or "none"
            raise PodNetworkMissing(
                f"PodNetwork/{name} is not on this node (there are: {known}): apply it first"
            ) from None

    def _make(self, objects: Iterable[KernelObject], namespace: Sandboxed | None) -> None:
        """Add the objects, in the namespace if one is to be made, or leave nothing behind."""
        wanted = [*(namespace_objects(namespace) if namespace else ()), *objects]
        if namespace:
            self.store.add_namespace(namespace)
        try:
            self.kernel.apply(plan(wanted, NOTHING).operations)
        except ApplyError as error:
            made = as_seen(operation.what for operation in error.done)
            self.kernel.apply(plan((), made).operations)
            if namespace:
                self.store.drop_namespace(namespace.sandbox_id)
            raise translate(error) from error

    def _sweep_before(self, attachment: Attachment) -> None:
        """A link in the trash still has its address, and in its pod its name.

        So neither is given to another before it is gone; nearly always both are new.
        """
        if self.kernel.trash and not self._parting.isdisjoint(_traces(attachment)):
            self.kernel.sweep()

    def _undo(self, record: Record) -> None:
        number = record.attachment.number
        if record.state != "removing":
            self.store.abandon(number)
        if not self.kernel.trash:
            self._parting.clear()
        self._parting |= _traces(record.attachment)
        made = as_seen(residue(record.attachment))
        try:
            self.kernel.apply(plan((), made).operations)
        except ApplyError as error:
            raise translate(error) from error
        self.ports.release(number)
        self.store.release(number)
        self.attachments += 1


def _traces(attachment: Attachment) -> set[Netns | IPAddress]:
    """What a link has as long as it is not deleted."""
    return {attachment.request.netns, *(interface.ip for interface in attachment.addresses)}

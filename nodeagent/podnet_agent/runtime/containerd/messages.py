"""What is said to containerd and what it answers: the messages that are used, and of those the
fields. Numbers and types are those of containerd's api v1.10, the same since its 1.2; gRPC does not
send a message's name, so one stands here for every request or answer of that shape.
"""

from dataclasses import dataclass, field
from typing import Annotated


@dataclass(frozen=True, slots=True)
class Empty:
    """Nothing to say."""


@dataclass(frozen=True, slots=True)
class Packed:
    """google.protobuf.Any: bytes, and what they are."""

    type_url: Annotated[str, 1] = ""
    value: Annotated[bytes, 2] = b""


@dataclass(frozen=True, slots=True)
class Timestamp:
    """google.protobuf.Timestamp: since 1970."""

    seconds: Annotated[int, 1] = 0
    nanos: Annotated[int, 2] = 0

    def since_1970(self) -> float:
        """Seconds."""
        return self.seconds + self.nanos / 1e9


@dataclass(frozen=True, slots=True)
class Mount:
    """types.Mount: how a part of a root file system is mounted."""

    type: Annotated[str, 1] = ""
    source: Annotated[str, 2] = ""
    target: Annotated[str, 3] = ""
    options: Annotated[tuple[str, ...], 4] = ()


@dataclass(frozen=True, slots=True)
class Mounts:
    """Answer of Snapshots.Prepare."""

    mounts: Annotated[tuple[Mount, ...], 1] = ()


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Request of Snapshots.Prepare and Remove."""

    snapshotter: Annotated[str, 1] = ""
    key: Annotated[str, 2] = ""
    parent: Annotated[str, 3] = ""


@dataclass(frozen=True, slots=True)
class RuntimeName:
    """Container.Runtime: which shim runs it."""

    name: Annotated[str, 1] = ""


@dataclass(frozen=True, slots=True)
class Record:
    """containers.Container: what containerd keeps of a container, whether it runs or not."""

    id: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 2] = field(default_factory=dict)
    image: Annotated[str, 3] = ""
    runtime: Annotated[RuntimeName, 4] = RuntimeName()
    spec: Annotated[Packed, 5] = Packed()
    snapshotter: Annotated[str, 6] = ""
    snapshot_key: Annotated[str, 7] = ""


@dataclass(frozen=True, slots=True)
class OneRecord:
    """Request and answer of Containers.Create, answer of Get."""

    container: Annotated[Record, 1] = Record()


@dataclass(frozen=True, slots=True)
class FieldMask:
    """google.protobuf.FieldMask: which fields are meant."""

    paths: Annotated[tuple[str, ...], 1] = ()


@dataclass(frozen=True, slots=True)
class UpdateRecord:
    """Request of Containers.Update."""

    container: Annotated[Record, 1] = Record()
    update_mask: Annotated[FieldMask, 2] = FieldMask()


@dataclass(frozen=True, slots=True)
class Records:
    """Answer of Containers.List."""

    containers: Annotated[tuple[Record, ...], 1] = ()


@dataclass(frozen=True, slots=True)
class Id:
    """Request of Containers.Get and Delete, of Images.Get (its name), of Leases.Delete."""

    id: Annotated[str, 1] = ""


@dataclass(frozen=True, slots=True)
class Filters:
    """Request of Containers.List and Events.Subscribe; one that holds is enough."""

    filters: Annotated[tuple[str, ...], 1] = ()


@dataclass(frozen=True, slots=True)
class CreateTask:
    """Request of Tasks.Create."""

    container_id: Annotated[str, 1] = ""
    rootfs: Annotated[tuple[Mount, ...], 3] = ()
    stdin: Annotated[str, 4] = ""
    stdout: Annotated[str, 5] = ""
    stderr: Annotated[str, 6] = ""
    terminal: Annotated[bool, 7] = False


@dataclass(frozen=True, slots=True)
class CreatedTask:
    """Answer of Tasks.Create."""

    container_id: Annotated[str, 1] = ""
    pid: Annotated[int, 2] = 0


@dataclass(frozen=True, slots=True)
class ProcessId:
    """Request of Tasks.Start, Get, Wait, Delete, DeleteProcess; no exec id: the first process."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""


@dataclass(frozen=True, slots=True)
class Exit:
    """Answer of Tasks.Wait."""

    exit_status: Annotated[int, 1] = 0
    exited_at: Annotated[Timestamp, 2] = Timestamp()


@dataclass(frozen=True, slots=True)
class Kill:
    """Request of Tasks.Kill."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    signal: Annotated[int, 3] = 0
    all: Annotated[bool, 4] = False


@dataclass(frozen=True, slots=True)
class Exec:
    """Request of Tasks.Exec."""

    container_id: Annotated[str, 1] = ""
    stdin: Annotated[str, 2] = ""
    stdout: Annotated[str, 3] = ""
    stderr: Annotated[str, 4] = ""
    terminal: Annotated[bool, 5] = False
    spec: Annotated[Packed, 6] = Packed()
    exec_id: Annotated[str, 7] = ""


@dataclass(frozen=True, slots=True)
class ResizePty:
    """Request of Tasks.ResizePty."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    width: Annotated[int, 3] = 0
    height: Annotated[int, 4] = 0


@dataclass(frozen=True, slots=True)
class CloseIO:
    """Request of Tasks.CloseIO."""

    container_id: Annotated[str, 1] = ""
    exec_id: Annotated[str, 2] = ""
    stdin: Annotated[bool, 3] = False


CREATED, RUNNING, STOPPED = 1, 2, 3
"""`Process.status`, task.Status."""


@dataclass(frozen=True, slots=True)
class Process:
    """task.Process."""

    id: Annotated[str, 2] = ""
    pid: Annotated[int, 3] = 0
    status: Annotated[int, 4] = 0
    exit_status: Annotated[int, 9] = 0
    exited_at: Annotated[Timestamp, 10] = Timestamp()


@dataclass(frozen=True, slots=True)
class OneProcess:
    """Answer of Tasks.Get."""

    process: Annotated[Process, 1] = Process()


@dataclass(frozen=True, slots=True)
class Descriptor:
    """types.Descriptor: where contents are."""

    media_type: Annotated[str, 1] = ""
    digest: Annotated[str, 2] = ""
    size: Annotated[int, 3] = 0


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """images.Image."""

    name: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 2] = field(default_factory=dict)
    target: Annotated[Descriptor, 3] = Descriptor()


@dataclass(frozen=True, slots=True)
class OneImage:
    """Answer of Images.Get."""

    image: Annotated[ImageRecord, 1] = ImageRecord()


@dataclass(frozen=True, slots=True)
class ReadContent:
    """Request of Content.Read."""

    digest: Annotated[str, 1] = ""
    offset: Annotated[int, 2] = 0
    size: Annotated[int, 3] = 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Answers of Content.Read."""

    offset: Annotated[int, 1] = 0
    data: Annotated[bytes, 2] = b""


@dataclass(frozen=True, slots=True)
class Envelope:
    """Answers of Events.Subscribe."""

    namespace: Annotated[str, 2] = ""
    topic: Annotated[str, 3] = ""
    event: Annotated[Packed, 4] = Packed()


@dataclass(frozen=True, slots=True)
class TaskOOM:
    """The event /tasks/oom."""

    container_id: Annotated[str, 1] = ""


@dataclass(frozen=True, slots=True)
class Pid:
    """Answer of Tasks.Start."""

    pid: Annotated[int, 1] = 0


@dataclass(frozen=True, slots=True)
class Lease:
    """leases.Lease, and the request of Leases.Create."""

    id: Annotated[str, 1] = ""
    labels: Annotated[dict[str, str], 3] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OneLease:
    """Answer of Leases.Create."""

    lease: Annotated[Lease, 1] = Lease()


@dataclass(frozen=True, slots=True)
class Leases:
    """Answer of Leases.List."""

    leases: Annotated[tuple[Lease, ...], 1] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """leases.Resource: what is kept."""

    id: Annotated[str, 1] = ""
    type: Annotated[str, 2] = ""


@dataclass(frozen=True, slots=True)
class AddResource:
    """Request of Leases.AddResource."""

    id: Annotated[str, 1] = ""
    resource: Annotated[Resource, 2] = Resource()

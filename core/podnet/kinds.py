"""The kinds of API objects: what each is called, in every spelling."""

GROUP = "podnet.dev"
VERSION = "v1alpha1"


class Kind:
    """One kind. Not a dataclass: `podnet get` loads this, and that module alone costs it 12 ms."""

    __slots__ = ("group", "kind", "namespaced", "plural", "short", "singular", "version")

    def __init__(
        self,
        kind: str,
        plural: str,
        short: str,
        *,
        namespaced: bool,
        group: str = GROUP,
        version: str = VERSION,
    ) -> None:
        self.kind, self.plural, self.short = kind, plural, short
        self.singular = kind.lower()
        self.namespaced = namespaced
        self.group, self.version = group, version

    @property
    def api_version(self) -> str:
        """As objects of the kind name it: group and version, of Kubernetes' own the version."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """As kubectl prints it before a name: podsandbox.podnet.dev."""
        return f"{self.singular}.{GROUP}"


KINDS = (
    Kind("PodNetwork", "podnetworks", "pnet", namespaced=False),
    Kind("PodSandbox", "podsandboxes", "psb", namespaced=True),
)
"""What people write, in the order in which it is made: networks before what is plugged in."""
CLUSTER_KINDS = (KINDS[0], Kind("NodeSubnet", "nodesubnets", "nsub", namespaced=False), KINDS[1])
"""In a cluster the operator writes one kind more, which one machine has no use for."""
NODE = Kind("Node", "nodes", "no", namespaced=False, group="", version="v1")
"""Kubernetes' own, of which an agent knows one: the node that it runs on."""
AGENT_KINDS = (*CLUSTER_KINDS, NODE)
"""What an agent in a cluster keeps."""


def find(word: str) -> Kind | None:
    """The kind that somebody means: Kind, plural, singular or short name, in any case."""
    word = word.lower().removesuffix(f".{GROUP}")
    for kind in CLUSTER_KINDS:
        if word in (kind.singular, kind.plural, kind.short):
            return kind
    return None

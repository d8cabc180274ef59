"""CRDs from the models. `python -m podnet.api.crd [FOLDER]` writes them; a test compares."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from podnet.api.meta import Model
from podnet.api.nodesubnet import NodeSubnet
from podnet.api.podnetwork import PodNetwork
from podnet.api.podsandbox import PodSandbox
from podnet.api.rules import VALIDATIONS
from podnet.api.status import STATUSES
from podnet.kinds import CLUSTER_KINDS, GROUP, VERSION, Kind

Schema = dict[str, Any]
_KEPT = (
    "type",
    "format",
    "description",
    "enum",
    "pattern",
    "minLength",
    "maxLength",
    "minimum",
    "maximum",
    "minItems",
    "maxItems",
    "required",
    VALIDATIONS,
    "x-kubernetes-int-or-string",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
)
"""Of a JSON schema; the rest is no part of a structural schema or says nothing to the server."""


@dataclass(frozen=True, slots=True)
class Column:
    """What `kubectl get` shows; `wide`: only with -o wide."""

    name: str
    path: str
    type: str = "string"
    wide: bool = False

    def body(self) -> Schema:
        """An entry of additionalPrinterColumns."""
        shown = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return shown | ({"priority": 1} if self.wide else {})


_READY = '.status.conditions[?(@.type=="Ready")]'
_AGE = Column("Age", ".metadata.creationTimestamp", "date")
MODELS: Mapping[str, type[Model]] = {
    "PodNetwork": PodNetwork,
    "NodeSubnet": NodeSubnet,
    "PodSandbox": PodSandbox,
}
COLUMNS: Mapping[str, tuple[Column, ...]] = {
    "PodNetwork": (
        Column("Subnets", ".spec.subnets"),
        Column("Ready", f"{_READY}.status"),
        Column("Reason", f"{_READY}.reason"),
        Column("Nodes", ".status.nodes", "integer"),
        Column("Used", ".status.addressesUsed", "integer"),
        _AGE,
        Column("Total", ".status.addressesTotal", "integer", wide=True),
        Column("Backend", ".spec.backend.type", wide=True),
        Column("Bridge", ".status.bridge", wide=True),
        Column("Masquerade", ".spec.masquerade", "boolean", wide=True),
        Column("Isolated", ".spec.isolated", "boolean", wide=True),
    ),
    "NodeSubnet": (
        Column("Network", ".spec.podNetwork"),
        Column("Node", ".spec.nodeName"),
        Column("PodCIDRs", ".spec.podCIDRs"),
        Column("Ready", f"{_READY}.status"),
        Column("Used", ".status.addressesUsed", "integer"),
        _AGE,
        Column("Node Addresses", ".status.nodeAddresses", wide=True),
    ),
    "PodSandbox": (
        Column("Mode", ".spec.network.mode"),
        Column("Ready", f"{_READY}.status"),
        Column("Status", ".status.phase"),
        Column("IP", ".status.podIPs[0].ip"),
        Column("Node", ".spec.nodeName"),
        _AGE,
        Column("Reason", f"{_READY}.reason", wide=True),
        Column("Network", ".status.interfaces[0].podNetwork", wide=True),
        Column("MAC", ".status.interfaces[0].mac", wide=True),
        Column("Host End", ".status.interfaces[0].peer.name", wide=True),
        Column("Netns", ".status.netns.path", wide=True),
    ),
}
SELECTABLE: Mapping[str, tuple[str, ...]] = {
    "PodSandbox": (".spec.nodeName",),
    "NodeSubnet": (".spec.podNetwork", ".spec.nodeName"),
}
"""What a watch can ask the server for, beside name and namespace."""


def crd(kind: Kind) -> Schema:
    """The CustomResourceDefinition of a kind."""
    version: Schema = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [column.body() for column in COLUMNS[kind.kind]],
        "schema": {"openAPIV3Schema": _whole(kind)},
    }
    if kind.kind in SELECTABLE:
        version["selectableFields"] = [{"jsonPath": path} for path in SELECTABLE[kind.kind]]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{kind.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.singular,
                "shortNames": [kind.short],
                "categories": ["podnet"],
            },
            "versions": [version],
        },
    }


def structural(model: type[Model]) -> Schema:
    """The model's schema as Kubernetes takes it: nothing referred to, no null."""
    whole = model.model_json_schema(by_alias=True)
    return _structural(whole, whole.get("$defs", {}))


def _whole(kind: Kind) -> Schema:
    """Metadata is the server's; of its fields, rules may read the name alone."""
    found = structural(MODELS[kind.kind])
    return found | {
        "required": [name for name in found.get("required", ()) if name == "spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": "The version of this schema."},
            "kind": {"type": "string", "description": "What the object is."},
            "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
            "spec": found["properties"]["spec"],
            "status": structural(STATUSES[kind.kind]),
        },
    }


def _structural(schema: Schema, defs: Mapping[str, Schema]) -> Schema:
    schema = _plain(schema, defs)
    found = {key: schema[key] for key in _KEPT if schema.get(key) not in (None, [])}
    if "const" in schema:
        found["enum"] = [schema["const"]]
    if "pattern" in found:  # JSON holds no surrogates, and RE2 knows none
        found["pattern"] = found["pattern"].replace(r"\ud800-\udfff", "")
    if schema.get("x-kubernetes-int-or-string"):
        found["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    default = schema.get("default")
    if default not in (None, [], ""):
        found["default"] = default
    if "items" in schema:
        found["items"] = _structural(schema["items"], defs)
    if "properties" in schema:
        inner = {name: _structural(each, defs) for name, each in schema["properties"].items()}
        found["properties"] = inner
        if isinstance(default, dict):  # rules are tried on it as it stands
            found["default"] = {
                name: each["default"] for name, each in inner.items() if "default" in each
            }
    return found


def _plain(schema: Schema, defs: Mapping[str, Schema]) -> Schema:
    """With what it refers to in it, and without the null that stands for left out."""
    while "$ref" in schema or "anyOf" in schema:
        around = {key: each for key, each in schema.items() if key not in ("$ref", "anyOf")}
        if "$ref" in schema:
            inner = defs[schema["$ref"].rpartition("/")[2]]
        else:
            (inner,) = (each for each in schema["anyOf"] if each.get("type") != "null")
        schema = inner | around
    return schema


def files() -> dict[str, str]:
    """The contents of the folder crds/, by file name."""
    names = {kind.kind: f"{kind.plural}.yaml" for kind in CLUSTER_KINDS}
    head = "# Made by `make crds` from core/podnet/api.\n"
    found = {
        names[kind.kind]: head + yaml.safe_dump(crd(kind), sort_keys=False, width=100)
        for kind in CLUSTER_KINDS
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(found),
    }
    return found | {"kustomization.yaml": head + yaml.safe_dump(kustomization, sort_keys=False)}


if __name__ == "__main__":
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "crds")
    folder.mkdir(exist_ok=True)
    for name, text in files().items():
        (folder / name).write_text(text)

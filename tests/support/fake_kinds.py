"""Which kinds the fake API server knows, and how it tells of them."""

from typing import Any

Body = dict[str, Any]

KINDS = {
    ("", "v1", "nodes"): ("Node", False),
    ("", "v1", "namespaces"): ("Namespace", False),
    ("", "v1", "events"): ("Event", True),
    ("", "v1", "serviceaccounts"): ("ServiceAccount", True),
    ("rbac.authorization.k8s.io", "v1", "clusterroles"): ("ClusterRole", False),
    ("rbac.authorization.k8s.io", "v1", "clusterrolebindings"): ("ClusterRoleBinding", False),
    ("apiextensions.k8s.io", "v1", "customresourcedefinitions"): (
        "CustomResourceDefinition",
        False,
    ),
    ("networking.k8s.io", "v1", "servicecidrs"): ("ServiceCIDR", False),
    ("coordination.k8s.io", "v1", "leases"): ("Lease", True),
    ("podnet.dev", "v1alpha1", "podnetworks"): ("PodNetwork", False),
    ("podnet.dev", "v1alpha1", "nodesubnets"): ("NodeSubnet", False),
    ("podnet.dev", "v1alpha1", "podsandboxes"): ("PodSandbox", True),
}


def kind_of(plural: str) -> tuple[str, str]:
    """The kind and the apiVersion of its objects."""
    for (group, version, each), (kind, _) in KINDS.items():
        if each == plural:
            return kind, f"{group}/{version}" if group else version
    raise KeyError(plural)


def discovery(path: list[str]) -> Body | None:
    """What the server says of versions, groups or resources at that path; None: nothing."""
    groups: dict[str, str] = {group: version for group, version, _ in KINDS}
    if path == ["version"]:
        return {"major": "1", "minor": "36"}
    if path == ["api"]:
        return {"versions": ["v1"]}
    if path == ["apis"]:
        return {
            "groups": [
                {
                    "name": group,
                    "versions": [{"groupVersion": f"{group}/{version}", "version": version}],
                    "preferredVersion": {"groupVersion": f"{group}/{version}", "version": version},
                }
                for group, version in groups.items()
                if group
            ]
        }
    group = "" if path[0] == "api" else path[1]
    if len(path) != (2 if path[0] == "api" else 3):
        return None
    verbs = ["get", "list", "watch", "create", "patch", "delete", "update"]
    return {
        "resources": [
            {
                "name": plural,
                "kind": kind,
                "singularName": kind.lower(),
                "namespaced": namespaced,
                "verbs": verbs,
            }
            for (of, _, plural), (kind, namespaced) in KINDS.items()
            if of == group
        ]
    }

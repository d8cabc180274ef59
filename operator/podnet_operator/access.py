"""Where the API server is, and who we are there."""

import os
import socket
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import kopf

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_MINUTES = 10
"""The kubelet writes a new token when a fifth of the old one's hour is left; it is read anew long
before that (kubernetes, pkg/kubelet/token)."""


def connection(settings: kopf.OperatorSettings) -> kopf.ConnectionInfo:
    """In a Pod its service account, elsewhere the kubeconfig's current context.

    The address comes from the environment, not from DNS: that may need the network that podnet is
    to make.
    """
    token, host = ACCOUNT / "token", os.environ.get("KUBERNETES_SERVICE_HOST")
    if host and token.exists():
        where = f"[{host}]" if ":" in host else host
        return kopf.ConnectionInfo(
            server=f"https://{where}:{os.environ.get('KUBERNETES_SERVICE_PORT', '443')}",
            ca_path=str(ACCOUNT / "ca.crt"),
            token=token.read_text().strip(),
            expiration=datetime.now(UTC) + timedelta(minutes=TOKEN_MINUTES),
        )
    found = kopf.login_with_kubeconfig(settings=settings)
    if found is None:
        raise kopf.LoginError("there is neither a service account nor a kubeconfig: set KUBECONFIG")
    return found


def namespace() -> str:
    """Where the operator's own objects lie."""
    file = ACCOUNT / "namespace"
    return file.read_text().strip() if file.exists() else "default"


def identity() -> str:
    """Unlike any other operator's; the same for every container of one Pod."""
    return os.environ.get("POD_NAME") or f"{socket.gethostname()}-{uuid.uuid4().hex[:8]}"

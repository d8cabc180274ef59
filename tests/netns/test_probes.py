"""What the kubelet hears of a cluster's agent, asked where it asks."""

import sys
from collections.abc import Iterator

import pytest

from podnet_agent.health import HOST, PORT
from support.host import HostError, until
from support.nodes import AGENT, V4, Nodes
from support.podnet import SOCKET, Podnet

SERVER = f"""
import http.server
http.server.HTTPServer(("{HOST}", {PORT}), http.server.BaseHTTPRequestHandler).serve_forever()
"""
ASK = f"""
import http.client, sys
connection = http.client.HTTPConnection("{HOST}", {PORT}, timeout=5)
try:
    connection.request("GET", sys.argv[1])
except ConnectionRefusedError:
    sys.exit()
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def heard(podnet: Podnet, path: str) -> str:
    """Status and text; nothing where nobody listens."""
    return podnet.host.run([sys.executable, "-c", ASK, path]).stdout.strip()


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    with Nodes() as nodes:
        nodes.api.network("default", "10.1.0.0/16")
        nodes.node("a", 1, start=False)
        yield nodes


def test_a_node_is_ready_while_a_pod_could_be_attached(nodes: Nodes) -> None:
    host = nodes.nodes["a"].host
    folders = ["--bin-dir", "/run/cni/bin", "--conf-dir", "/run/cni/net.d"]
    for each in folders[1::2]:
        host.path(each).mkdir(parents=True)
    command = [str(AGENT), "serve", "--node", "a", "--cni", *folders]
    podnet = Podnet(host, command, nodes.api.let_in(host))
    podnet.agent()
    until(lambda: heard(podnet, "/healthz") == "200 ok", "it to be alive")
    assert heard(podnet, "/readyz").startswith("503 not ready: ")
    assert "PodNetwork/default" in heard(podnet, "/readyz")
    nodes.api.share("default", "a", V4.format(1))
    until(lambda: heard(podnet, "/readyz") == "200 ok", "it to be ready")
    nodes.api.delete("NodeSubnet", "default.a")
    until(lambda: heard(podnet, "/readyz").startswith("503"), "it to be ready no more")
    assert heard(podnet, "/healthz") == "200 ok"
    host.path(SOCKET).unlink()
    assert heard(podnet, "/healthz").startswith("503")


def test_a_node_without_cni_is_ready_once_it_answers(nodes: Nodes) -> None:
    node = nodes.nodes["a"]
    node.agent()
    until(lambda: heard(node, "/readyz") == "200 ok", "it to be ready")


def test_a_port_that_somebody_has_is_named(nodes: Nodes) -> None:
    node = nodes.nodes["a"]
    other = node.host.popen([sys.executable, "-c", SERVER])
    until(lambda: heard(node, "/").startswith("501"), "the other one to listen")
    with pytest.raises(HostError, match=f"{HOST}:{PORT} is taken, where the agent answers"):
        node.agent()
    other.kill()
    other.wait()
    node.agent()

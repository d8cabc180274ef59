"""podnet becomes the CNI plugin of a node's containerd: when Pods can be attached, not before."""

import json
import shutil
import sys
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from support.containerd import Containerd
from support.host import Host, until
from support.podnet import Podnet
from support.runtime import Runtime
from support.shim import RawAgent, http

PODNET = Path(sys.executable).with_name("podnet")
AGENT = Path(sys.executable).with_name("podnet-agent")
PROGRAMS, CONFIGURATIONS = "/var/lib/cni/bin", "/var/lib/cni/net.d"
PROGRAM = f"{PROGRAMS}/podnet-cni"
CONFIGURATION = f"{CONFIGURATIONS}/10-podnet.conflist"
SAYS = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{PROGRAMS}"
conf_dir = "{CONFIGURATIONS}"
"""
NOT_YET = b'{"cniVersion": "1.1.0", "code": 50, "msg": "not ready", "details": "no share"}'
STATUS = '{"cniVersion": "1.1.0", "name": "podnet", "type": "podnet-cni"}'
ASKS = {"CNI_COMMAND": "STATUS", "CNI_PATH": PROGRAMS}
APPEAR = """
import sys
from pathlib import Path
from podnet.errors import PodNetError
from podnet_agent.install import Installation
try:
    Installation(Path(sys.argv[1]), Path(sys.argv[2])).appear()
except PodNetError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def node(host: Host) -> Host:
    """A host whose containerd, if it had one, would look in folders of the host's own."""
    folder = host.path("/etc/containerd")
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(SAYS)
    return host


def answering(node: Host, status: int, body: bytes = b"") -> RawAgent:
    """An agent that answers every verb so."""
    return RawAgent(node.path("/run"), http(status, body), below="podnet")


def appear(node: Host) -> str:
    """What is in the way, if anything."""
    words = [sys.executable, "-c", APPEAR, PROGRAMS, CONFIGURATIONS]
    return node.run(words, check=False).stderr.strip()


def test_both_files_are_where_containerd_says_it_looks(node: Host) -> None:
    with answering(node, 200) as agent:
        done = node.run([AGENT, "install"])
        assert done.stdout.splitlines() == [f"{PROGRAM} written", f"{CONFIGURATION} written"]
        again = node.run([AGENT, "install"]).stdout.splitlines()
    assert again == [f"{PROGRAM} unchanged", f"{CONFIGURATION} unchanged"]
    (request,) = agent.requests  # the second time nothing has to be asked
    assert b"Cni-Command: STATUS\r\n" in request
    conflist = json.loads(node.path(CONFIGURATION).read_text())
    assert [plugin["type"] for plugin in conflist["plugins"]] == ["podnet-cni"]
    said = node.run([PROGRAM], env={"CNI_COMMAND": "VERSION"})
    assert "1.1.0" in json.loads(said.stdout)["supportedVersions"]


def test_folders_may_be_given(host: Host) -> None:
    folders = ["--bin-dir", "/var/lib/a", "--conf-dir", "/var/lib/b"]
    with answering(host, 200):
        host.run([PODNET, "cni", "install", *folders])
    assert host.path("/var/lib/a/podnet-cni").exists()
    assert host.path("/var/lib/b/10-podnet.conflist").exists()
    said = host.run([PODNET, "cni", "uninstall", *folders]).stdout.splitlines()
    assert said == ["/var/lib/b/10-podnet.conflist removed", "/var/lib/a/podnet-cni removed"]
    said = host.run([PODNET, "cni", "uninstall", *folders]).stdout.splitlines()
    assert said == ["podnet is not in /var/lib/a and /var/lib/b"]


def test_the_configuration_does_not_appear_before_pods_can_be_attached(node: Host) -> None:
    """S31: without an agent, and with one that is not ready; but the program is there already."""
    assert "agent does not answer" in appear(node)
    with answering(node, 422, NOT_YET):
        said = appear(node)
    assert said == f"{CONFIGURATION} is written once Pods can be attached: not ready: no share"
    assert node.path(PROGRAM).exists() and not node.path(CONFIGURATION).exists()
    with answering(node, 200):
        assert appear(node) == ""
    assert node.path(CONFIGURATION).exists()


def test_an_upgrade_renews_both_though_no_agent_answers(node: Host) -> None:
    """S30: what is there already is a promise that was given."""
    with answering(node, 200):
        appear(node)
    new = node.path(CONFIGURATION).read_bytes()
    node.path(CONFIGURATION).write_text("{}")
    node.path(PROGRAM).write_text("#!/bin/sh\nexit 1\n")
    assert appear(node) == ""
    assert node.path(CONFIGURATION).read_bytes() == new
    assert node.path(PROGRAM).read_bytes().startswith(b"\x7fELF")


def test_a_folder_that_was_deleted_is_made_anew(node: Host) -> None:
    with answering(node, 200):
        appear(node)
        shutil.rmtree(node.path(CONFIGURATIONS))
        assert appear(node) == ""
    assert node.path(CONFIGURATION).exists()


def test_a_foreign_configuration_that_comes_first_is_said(node: Host) -> None:
    """S32: by `install`, and by `doctor` with the command that removes it."""
    node.path(CONFIGURATIONS).mkdir(parents=True)
    other = node.path(f"{CONFIGURATIONS}/05-other.conflist")
    other.write_text('{"plugins": [{"type": "bridge"}]}')
    with answering(node, 200):
        done = node.run([AGENT, "install"], check=False)
    sentence = f"{CONFIGURATIONS}/05-other.conflist comes before 10-podnet.conflist"
    assert (done.returncode, sentence in done.stderr) == (1, True)
    assert other.exists() and node.path(CONFIGURATION).exists()
    assert doctor(node) == ("warning", f"rm {CONFIGURATIONS}/05-other.conflist")
    other.unlink()
    assert doctor(node) == ("warning", "apt-get install containernetworking-plugins")
    shutil.copy("/usr/lib/cni/loopback", node.path(f"{PROGRAMS}/loopback"))
    assert doctor(node) == ("ok", "")
    node.path(PROGRAM).unlink()
    assert doctor(node) == ("warning", "podnet cni install")
    node.path(CONFIGURATION).unlink()
    assert doctor(node) == ("ok", "")


def doctor(node: Host) -> tuple[str, str]:
    """The verdict on CNI, and the command that helps."""
    answer = json.loads(node.run([AGENT, "doctor", "-o", "json"], check=False).stdout)
    (found,) = (check for check in answer["checks"] if check["name"] == "CNI")
    return found["verdict"], found["command"]


def test_a_containerd_takes_it_up_at_once_and_lets_it_go(node: Host) -> None:
    """S31, with Debian's containerd: it reloads on a rename in the folder that it watches."""
    containerd = Containerd(node, f'root = "/run/containerd-data"\n{SAYS}')
    assert not is_ready(containerd)
    with answering(node, 200):
        assert appear(node) == ""
    until(lambda: is_ready(containerd), "containerd to have a network")
    containerd.stop()
    containerd.start()
    assert is_ready(containerd)
    node.run([AGENT, "uninstall"])
    until(lambda: not is_ready(containerd), "containerd to have no network any more")


def is_ready(containerd: Containerd) -> bool:
    """What the kubelet would be told by Status."""
    return b"NetworkPluginNotReady" not in containerd.cri("Status")


def test_an_agent_that_is_the_plugin_keeps_it_so_and_says_so(node: Host) -> None:
    """S30 to S32: in the condition and the log; neither a kill nor a stop takes anything away."""
    podnet = Podnet(node, [str(AGENT), "serve", "--cni"])

    def says(status: str) -> bool:
        return podnet.condition("default", "podnetwork", "CNIConfigured").get("status") == status

    podnet.agent()
    until(lambda: says("True"), "the condition")
    assert f"containerd calls podnet: {PROGRAM}" in podnet.log()
    other = node.path(f"{CONFIGURATIONS}/05-other.conflist")
    other.write_text("{}")
    podnet.restart()
    until(lambda: says("False"), "the condition")
    assert "ForeignConfiguration" in podnet.run("describe", "podnetwork", "default").stdout
    assert f"{CONFIGURATIONS}/05-other.conflist comes before" in podnet.log()
    other.unlink()
    until(lambda: says("True"), "the condition")
    podnet.stop()
    assert node.path(CONFIGURATION).exists() and node.path(PROGRAM).exists()


def test_one_command_makes_a_machine_podnets(node: Host) -> None:
    """Starts the agent, waits until it can attach, and writes the configuration then."""
    said = Podnet(node).run("cni", "install").stdout.splitlines()
    assert said == [f"{PROGRAM} written", f"{CONFIGURATION} written"]
    assert node.run([PROGRAM], env=ASKS, input=STATUS).stdout == ""
    said = Podnet(node).run("cni", "uninstall").stdout.splitlines()
    assert said == [f"{CONFIGURATION} removed", f"{PROGRAM} removed"]


def test_the_program_asks_the_agent_and_leaves_word_for_the_next(node: Host) -> None:
    """ADD, then DEL while no agent runs: its address is free again for a Pod that comes then."""
    podnet = Podnet(node)
    podnet.run("cni", "install")
    runtime = Runtime(podnet)
    pod = runtime.pod()

    def call(verb: str, **config: object) -> CompletedProcess[str]:
        text = json.dumps(runtime.config | config)
        return node.run([PROGRAM], env=pod.environment(verb, PROGRAMS), input=text, check=False)

    result = json.loads(call("ADD").stdout)
    assert [each["name"] for each in result["interfaces"]][2] == "eth0" and pod.interfaces()
    assert (call("CHECK", prevResult=result).stdout, call("STATUS").stdout) == ("", "")
    assert json.loads(call("ADD").stdout)["code"] == 100  # there is one already
    node.run(["kill", "-9", podnet.run("version").stdout.split()[-1]])
    until(lambda: not podnet.answers(), "the agent to be gone")
    codes = [json.loads(call(verb).stdout)["code"] for verb in ("ADD", "CHECK", "STATUS")]
    assert codes == [11, 11, 50]
    assert (call("DEL", prevResult=result).returncode, pod.interfaces().keys()) == (0, {"eth0"})
    podnet.run("up")
    assert call("ADD").returncode == 0
    assert len(runtime.attachments()) == 1
    assert call("DEL").returncode == 0
    runtime.is_empty()
    podnet.run("down")


def test_down_takes_them_along(node: Host) -> None:
    Podnet(node).run("cni", "install")
    assert node.path(CONFIGURATION).exists()
    Podnet(node).run("down")
    assert not node.path(CONFIGURATION).exists() and not node.path(PROGRAM).exists()

"""Who asks the agent for CNI's verbs, and how: callers that leave, lie or say nothing."""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.host import Host
from support.podnet import SOCKET
from support.runtime import Pod, Refused, Runtime, request, started
from support.traffic import Place, icmp, reach
from support.usage import agent_pid

SHIM = Path(sys.executable).with_name("podnet-cni")
WEB = {"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}}


@pytest.fixture
def cni(host: Host) -> Runtime:
    return started(host)


@pytest.fixture(scope="module")
def shared() -> Iterator[Runtime]:
    """For what leaves no trace."""
    with Host("cni") as host:
        yield started(host)


def asked(cni: Runtime, pods: Sequence[Pod]) -> list[socket.socket]:
    """A connection for each pod that has asked for ADD and was not answered yet."""
    callers = []
    for pod in pods:
        caller = socket.socket(socket.AF_UNIX)
        caller.connect(str(cni.host.path(SOCKET)))
        caller.sendall(request("ADD", pod, cni.config))
        callers.append(caller)
    return callers


def test_a_runtime_that_gave_up_has_nothing_attached(cni: Runtime) -> None:
    """S35: an ADD whose caller is gone before its turn is not begun; one that was, DEL ends."""
    pods = cni.pods(30)
    callers = asked(cni, pods)
    for caller in callers:
        caller.close()
    cni.status()
    skipped = cni.podnet.log().count("did not wait for its ADD\n")
    assert skipped > 0
    assert len(cni.attachments()) <= len(pods) - skipped
    for pod in pods:
        cni.delete(pod)
    cni.is_empty()


def test_the_agents_main_thread_stays_at_home(cni: Runtime) -> None:
    """Who is exec'd into its container gets the main thread's namespaces, whatever is served."""
    pods = cni.pods(50)
    pid = agent_pid(cni.podnet)
    home = {os.readlink(f"/proc/{pid}/ns/net")}
    main, others = set(home), set()
    with ThreadPoolExecutor(len(pods)) as pool:
        adding = [pool.submit(cni.add, pod) for pod in pods]
        while not all(each.done() for each in adding):
            for thread in Path(f"/proc/{pid}/task").iterdir():
                seen = main if thread.name == str(pid) else others
                with contextlib.suppress(OSError):  # a thread, or a namespace, that has gone
                    seen.add(os.readlink(thread / "ns/net"))
        for each in adding:
            each.result()
    assert main == home
    assert others > home  # else nothing was seen of what is looked for


BROKEN = {
    "nothing": b"",
    "no HTTP": b"POST /cni \r\n\r\n",
    "half of a call": request("ADD", None, {"cniVersion": "1.1.0"})[:40],
    "a body that ends early": request("ADD", None, {"cniVersion": "1.1.0"})[:-1],
    "headers without end": b"POST /cni HTTP/1.0\r\n" + b"A: b\r\n" * 60000,
    "1 MB of garbage": request("ADD", None, bytes(range(256)) * 4096),
    "3 MB": b"POST /cni HTTP/1.0\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3000000,
    "brackets": request("DEL", None, b"[" * 1000000),
}


@pytest.mark.parametrize("what", BROKEN)
def test_the_agent_is_unharmed_by(shared: Runtime, what: str) -> None:
    """S34."""
    pid = shared.podnet.request("GET", "/version")[1]["pid"]
    try:
        data = shared.ask(BROKEN[what])
    except (BrokenPipeError, ConnectionResetError):
        data = b""  # it hung up on too much
    if data and not data.startswith(b"HTTP/1.0 400"):
        with pytest.raises(Refused) as raised:
            shared.answer(data)
        assert raised.value.code in (4, 5, 6)
    assert shared.podnet.request("GET", "/version")[1]["pid"] == pid
    assert shared.attachments() == []


def test_one_who_says_nothing_keeps_nobody_waiting(shared: Runtime) -> None:
    silent = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for each in silent:
        each.connect(str(shared.host.path(SOCKET)))
        each.sendall(b"POST /cni HTTP/1.0\r\n")
    begin = time.monotonic()
    shared.status()
    assert time.monotonic() - begin < 5
    for each in silent:
        each.close()


def test_a_user_who_is_not_root_may_ask_nothing(shared: Runtime) -> None:
    code = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); os.setuid(65534)\n"
        "try:\n s.connect(sys.argv[1])\nexcept PermissionError: print('refused')"
    )
    assert shared.host.python(code, SOCKET).stdout.strip() == "refused"


def test_a_full_or_read_only_machine_refuses_and_recovers(cni: Runtime) -> None:
    """S36: /proc/sys can't be written: nothing is left of the ADD, and the next one works."""
    pod = cni.pod()
    script = "mount --bind /proc/sys /proc/sys; mount -o remount,ro,bind /proc/sys"
    cni.host.run(["sh", "-c", script])
    with pytest.raises(Refused, match="mount /proc/sys") as raised:
        cni.add(pod)
    assert raised.value.code == 11
    assert cni.attachments() == []
    cni.host.run(["sh", "-c", "umount /proc/sys"])
    cni.add(pod)
    reach(Place(cni.host), icmp("172.17.0.2"))


def test_the_agent_ends_while_it_adds_and_nothing_is_left(cni: Runtime) -> None:
    """S3: killed in the middle of many; the runtime's DELs find nothing or undo the rest."""
    for _ in range(5):
        pods = cni.pods(10)
        callers = asked(cni, pods)
        callers[2].recv(1)
        cni.podnet._end(signal.SIGKILL)
        cni.podnet.agent()
        assert cni.leaks() == []
        for pod in pods:
            cni.delete(pod)
        cni.is_empty()
        for caller in callers:
            caller.close()

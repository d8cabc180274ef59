"""S30: program and agent are replaced, each at its own time, while a kubelet makes Pods."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import count, cycle
from pathlib import Path

import pytest

from podnet_agent.placing import place
from support import cri as node
from support.containerd import LOG
from support.cri import CONFIGURATIONS, PROGRAMS, Cnitool, Cri, namespace
from support.host import HostError, until
from support.leaks import traces, until_same
from support.podnet import Podnet
from support.shim import SOURCE, release
from support.traffic import Stream, icmp, reach, serve
from support.watch import Watch

CONFLIST, PROGRAM = "10-podnet.conflist", "podnet-cni"
NO_NETWORK = "failed to reload cni configuration"
"""What containerd logs where it finds no configuration that it can use (pkg/cri/server)."""
RENEWALS, AGENTS = 3, 8
"""How many agents follow each other, and how often the program is replaced while each runs."""
PAUSE_SECONDS = 0.3
LONGEST_SECONDS = 20.0
"""How long the kubelet goes on trying: an agent is away for one or two, on a busy machine."""
HELD_UP = 1000.0
"""Milliseconds that a machine so busy may stand still; what is lost counts."""


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """This one, and one of another release, which tells the agent something more."""
    folder = tmp_path_factory.mktemp("programs")
    last = '{"CNI_PATH", "Cni-Path"}'
    other = SOURCE.read_text().replace(last, f'{last}, {{"PATH", "Cni-Next"}}')
    assert other != SOURCE.read_text()
    return {"old": release(folder / "old"), "new": release(folder / "new", other)}


@pytest.fixture
def agents(cri: Cri, programs: dict[str, Path]) -> dict[str, Podnet]:
    """Two installations of podnet that differ in the program they bring."""
    return {name: node.release(cri.host, name, program) for name, program in programs.items()}


def install(cri: Cri, program: Path) -> None:
    """As an agent does it."""
    place(cri.host.path(f"{PROGRAMS}/{PROGRAM}"), program.read_bytes(), 0o755)


def installed(cri: Cri) -> bytes:
    """The program that containerd starts."""
    return cri.host.path(f"{PROGRAMS}/{PROGRAM}").read_bytes()


def test_old_and_new_program_work_with_new_and_old_agent(
    cri: Cri, programs: dict[str, Path], agents: dict[str, Podnet]
) -> None:
    """S30: every verb by cnitool, a Pod by crictl that outlives both; each agent brings its own."""
    tool, netns = Cnitool(cri.host, "podnet"), namespace(cri.host, "tool")
    kept = None
    for agent, podnet in agents.items():
        podnet.agent()
        until(cri.is_ready, f"containerd to have a network\n{podnet.log()}", 10)
        until(lambda agent=agent: installed(cri) == programs[agent].read_bytes(), "its program", 5)
        kept = kept or cri.run("kept", (8080, 80))
        before = traces(cri.host)
        for program in programs.values():
            install(cri, program)
            for verb in ("status", "add", "check", "del"):
                tool.run(verb, netns)
            one = cri.run("one", alone=True)
            reach(one.place, icmp(kept.ip))
            assert cri.fetch(kept, "172.17.0.1:8080") == "kept"
            cri.remove(one.id)
            until_same(cri.host, before)
        podnet.kill()
    podnet.agent()
    tool.run("gc", netns)  # of all that libcni knows
    assert podnet.request("GET", "/attachments")[1]["items"] == []


class Kubelet:
    """Makes Pods and removes them, one after the other, until it is over."""

    def __init__(self, cri: Cri) -> None:
        self.cri = cri
        self.over = threading.Event()
        self.made: list[str] = []
        self.refused = 0

    def work(self, pod: str) -> None:
        """HostError when a Pod can't be made, or removed, for good."""
        while not self.over.is_set():
            self.cri.remove(self._make(pod))

    def _make(self, pod: str) -> str:
        end = time.monotonic() + LONGEST_SECONDS
        for attempt in count():
            try:
                key = self.cri.run(pod, attempt=attempt, alone=True).id
            except HostError:
                self.refused += 1
                if time.monotonic() > end:
                    raise
                time.sleep(PAUSE_SECONDS)
            else:
                self.made.append(key)
                return key
        raise AssertionError


@contextmanager
def working(cri: Cri) -> Iterator[Kubelet]:
    """As Pods of two Deployments, for the length of the block; HostError as of `Kubelet.work`."""
    kubelet = Kubelet(cri)
    with ThreadPoolExecutor() as pool:
        works = [pool.submit(kubelet.work, name) for name in ("red", "blue")]
        try:
            yield kubelet
        finally:
            kubelet.over.set()
    for work in works:
        work.result()


@pytest.mark.timeout(300)
def test_nothing_fails_for_good_while_both_are_replaced_back_and_forth(
    cri: Cri,
    programs: dict[str, Path],
    agents: dict[str, Podnet],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """S30: no Pod, no packet, no moment without a configuration; nothing is left over."""
    former = agents["old"]
    former.agent()
    until(cri.is_ready, f"containerd to have a network\n{former.log()}", 10)
    one, two = cri.run("one", alone=True), cri.run("two", alone=True)
    before = traces(cri.host)
    begin = cri.host.path(LOG).stat().st_size
    kinds = cycle(programs.values())
    with (
        Watch(cri.host.path(CONFIGURATIONS)) as configurations,
        Watch(cri.host.path(PROGRAMS)) as there,
        serve(two.place, 80),
        Stream(one.place, two.ip, 80) as stream,
    ):
        with working(cri) as kubelet:
            for number in range(AGENTS):
                for _ in range(RENEWALS):
                    install(cri, next(kinds))
                    others = len(kubelet.made) + 1
                    until(lambda others=others: len(kubelet.made) > others, "Pods", LONGEST_SECONDS)
                former.kill() if number % 2 else former.stop()
                former = agents["new" if former is agents["old"] else "old"]
                former.agent()
        flows = stream.stop()
        replaced = there.appeared(PROGRAM)
        assert configurations.vanished(CONFLIST) == 0
    with capsys.disabled():
        print(f"\n{len(kubelet.made)} Pods made, {kubelet.refused} attempts refused;", end=" ")
        print(f"the program replaced {replaced} times, the agent {AGENTS};", end=" ")
        print("; ".join(f"{kind}: {flow}" for kind, flow in flows.items()))
    assert replaced >= AGENTS * RENEWALS
    for flow in flows.values():
        flow.check(HELD_UP)
    assert NO_NETWORK not in cri.host.path(LOG).read_text()[begin:]
    with suppress(HostError):  # a Pod that was refused: the kubelet removes what there is of it
        cri.remove(*(key for key in cri.pods() if key not in (one.id, two.id)))
    assert cri.pods().keys() == {one.id, two.id}
    until_same(cri.host, before)

"""What is written down before the kernel is touched: who has which interface, address and port."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from podnet.attachment import PublishedPort
from podnet.errors import Conflict, Retryable
from podnet_agent.store import Store, Survivor
from support.values import DUAL, NETWORK, V6, ips, request, reserve, sandboxed

SMALL = replace(NETWORK, pod_cidrs=(ip_network("10.0.0.0/29"),))  # five pods: .2 to .6


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(":memory:")
    yield store
    store.close()


# The record.


def test_an_attachment_goes_from_adding_to_ready_to_gone(store: Store) -> None:
    made = reserve(store, NETWORK, "web")
    assert [(record.attachment, record.state) for record in store.records()] == [(made, "adding")]
    store.complete(made.number)
    assert [record.state for record in store.records()] == ["ready"]
    store.abandon(made.number)
    assert [record.state for record in store.records()] == ["removing"]
    store.release(made.number)
    assert store.records() == ()
    store.release(made.number)


def test_a_record_is_what_was_decided(store: Store) -> None:
    ports = (
        PublishedPort(8080, 80),
        PublishedPort(53, 5353, "udp", ip_address("192.0.2.1")),
        PublishedPort(53, 53, "udp", ip_address("2001:db8::1")),
    )
    fixed = (ip_address("172.17.0.9"), ip_address("fd00:17::7"))
    wanted = [
        request("a"),
        request("b", ports=ports, mac="02:00:00:00:00:07"),
        request("c", addresses=fixed, routes=(ip_network("10.0.0.0/8"),)),
    ]
    made = [store.reserve(DUAL, each) for each in wanted]
    assert [record.attachment for record in store.records()] == made
    assert [each.request for each in made] == wanted
    assert made[0].mac == "02:42:ac:11:00:02" and made[1].mac == "02:00:00:00:00:07"
    assert [str(interface) for interface in made[2].addresses] == ["172.17.0.9/16", "fd00:17::7/64"]


def test_an_attachment_is_found_by_sandbox_and_interface(store: Store) -> None:
    first = reserve(store, NETWORK, "web")
    second = reserve(store, NETWORK, "web", ifname="net1")
    reserve(store, NETWORK, "db")
    found = store.find("web", "net1")
    assert found is not None and found.attachment == second
    assert [record.attachment for record in store.of_sandbox("web")] == [first, second]
    assert store.find("web", "eth9") is None and store.find("nobody", "eth0") is None
    assert store.of_sandbox("nobody") == ()


def test_a_number_is_never_given_out_twice(store: Store) -> None:
    assert store.newest() == 0
    first = reserve(store, NETWORK, "a")
    store.release(first.number)
    second = reserve(store, NETWORK, "a")
    assert (first.number, second.number, store.newest()) == (1, 2, 2)
    assert first.host_end != second.host_end


def test_the_second_attachment_of_an_interface_is_a_conflict_and_changes_nothing(
    store: Store,
) -> None:
    """S4"""
    made = reserve(store, NETWORK, "web")
    store.complete(made.number)
    with pytest.raises(Conflict, match="PodSandbox/default/web: interface eth0 of sandbox web"):
        reserve(store, NETWORK, "web", ports=(PublishedPort(80, 80),))
    assert [(record.attachment, record.state) for record in store.records()] == [(made, "ready")]
    assert store.usage("default") == 1
    reserve(store, NETWORK, "other", ports=(PublishedPort(80, 80),))


def test_on_a_full_network_too_a_second_attachment_is_a_conflict(store: Store) -> None:
    """S4: not something to be tried again."""
    tiny = replace(NETWORK, pod_cidrs=(ip_network("10.0.0.0/30"),))
    reserve(store, tiny, "web")
    with pytest.raises(Conflict, match="interface eth0 of sandbox web exists already"):
        reserve(store, tiny, "web")


# Namespaces, networks.


def test_a_namespace_is_adding_until_it_is_set(store: Store) -> None:
    first, second = sandboxed("a"), sandboxed("b")
    for each in (second, first):
        store.add_namespace(each)
    store.complete_namespace("a")
    assert store.namespaces() == (first, second)
    assert store.namespaces("ready") == (first,)
    assert store.namespaces("adding", "removing") == (second,)
    store.drop_namespace("a")
    assert store.namespaces() == (second,)


def test_a_forgotten_network_may_come_again_with_other_subnets(store: Store) -> None:
    store.facts.record_subnets("default", [V6])
    store.release(reserve(store, NETWORK, "a").number)
    store.forget_network("default")
    assert store.facts.subnets("default") == ()
    assert ips(reserve(store, NETWORK, "b")) == ["172.17.0.2"]


# A copy to try something on.


def test_what_is_tried_on_a_copy_is_what_would_be_done_and_is_not(store: Store) -> None:
    store.release(reserve(store, NETWORK, "a").number)
    with store.copy() as other:
        tried = reserve(other, NETWORK, "b")
    assert store.records() == ()
    assert reserve(store, NETWORK, "b") == tried


# Crashes.


def test_what_fails_in_the_middle_leaves_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(store._claims, "claim_port", fails)
    with pytest.raises(RuntimeError):
        reserve(store, NETWORK, "a", ports=(PublishedPort(80, 80),))
    monkeypatch.undo()
    assert store.records() == () and store.usage("default") == 0
    reserve(store, NETWORK, "a", ports=(PublishedPort(80, 80),))


@pytest.mark.parametrize(
    "moment", ["claim_addresses", "claim_port", "INSERT INTO attachment", "COMMIT"]
)
def test_a_process_that_dies_inside_a_transaction_leaves_nothing(
    tmp_path: Path, moment: str
) -> None:
    """S3: killed between any two steps of a reservation."""
    path = tmp_path / "store.db"
    code = f"""
        import os, signal
        from podnet.attachment import PublishedPort
        from podnet_agent.store import Store, Survivor
        from support.values import NETWORK, ips, request, reserve

        store = Store({str(path)!r})
        kept = store.reserve(NETWORK, request("kept", ports=(PublishedPort(79, 79),)))
        store.complete(kept.number)
        def die(*args): os.kill(os.getpid(), signal.SIGKILL)
        moment = {moment!r}
        if moment.startswith("claim"):
            setattr(store._claims, moment, die)
        else:
            execute = store._db.execute
            store._db.execute = lambda sql, values=(): (
                die() if sql.startswith(moment) else execute(sql, values))
        store.reserve(NETWORK, request("lost", ports=(PublishedPort(80, 80),)))
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    store = Store(str(path))
    (record,) = store.records()
    assert (record.attachment.request.sandbox_id, record.state) == ("kept", "ready")
    assert store.usage("default") == 1 and store.newest()
    made = reserve(store, NETWORK, "lost", ports=(PublishedPort(80, 80),))
    assert ips(made) == ["172.17.0.3"]
    store.close()


# What is there without a record.


def survivor(number: int, name: str, *addresses: str, **fields: Any) -> Survivor:
    given = tuple(map(ip_address, addresses))
    return Survivor(number, NETWORK, request(name, **fields), given)


def test_what_is_there_without_a_record_has_one_again(store: Store) -> None:
    """S10: its number, addresses and ports are taken, and no lower number is given out."""
    web = survivor(7, "web", "172.17.0.9", ports=(PublishedPort(80, 80),))
    assert store.restore(12, [web]) == ["PodSandbox/default/web"]
    (record,) = store.records()
    assert (record.state, record.attachment.number, ips(record.attachment)) == (
        "ready",
        7,
        ["172.17.0.9"],
    )
    assert record.attachment.request == web.request
    with pytest.raises(Conflict, match="is taken by PodSandbox/default/web"):
        reserve(store, NETWORK, "late", addresses=(ip_address("172.17.0.9"),))
    with pytest.raises(Conflict, match="published by PodSandbox/default/web"):
        reserve(store, NETWORK, "late", ports=(PublishedPort(80, 80),))
    assert reserve(store, NETWORK, "new").number == 13


def test_two_that_exclude_each_other_are_one(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the others nothing is left, and the rest has its records."""
    found = [
        survivor(1, "a", "172.17.0.2"),
        survivor(2, "b", "172.17.0.2", ports=(PublishedPort(81, 80),)),
        survivor(3, "a", "172.17.0.3"),
        survivor(4, "c", "10.0.0.1"),
        survivor(1, "d", "172.17.0.4"),
        survivor(5, "e", "172.17.0.5", ports=(PublishedPort(81, 80),)),
    ]
    owners = [f"PodSandbox/default/{name}" for name in "ae"]
    assert store.restore(5, found) == owners
    assert [each.attachment.number for each in store.records()] == [1, 5]
    assert store.usage("default") == 2
    assert caplog.text.count("can't be taken up again") == 4


# The file.


def written(path: Path) -> None:
    store = Store(str(path))
    for name in range(50):
        store.complete(reserve(store, NETWORK, f"s{name}").number)
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: data[:100], id="cut after its header"),
        pytest.param(lambda data: b"garbage" * 1000, id="garbage"),
        pytest.param(lambda data: data[:4096] + os.urandom(len(data) - 4096), id="torn pages"),
    ],
)
def test_a_broken_file_is_set_aside(
    tmp_path: Path, damage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S10"""
    path = tmp_path / "store.db"
    for number in (1, 2):
        written(path)
        broken = damage(path.read_bytes())
        path.write_bytes(broken)
        store = Store(str(path))
        assert store.newest() == 0 and store.records() == ()
        reserve(store, NETWORK, "a")
        store.close()
        assert (tmp_path / f"store.db.broken-{number}").read_bytes() == broken
        assert f"set aside as {path}.broken-{number}" in caplog.text


def test_an_empty_file_is_as_good_as_none(tmp_path: Path) -> None:
    """S10"""
    path = tmp_path / "store.db"
    for _ in range(2):
        written(path)
        path.write_bytes(b"")
        store = Store(str(path))
        assert store.newest() == 0 and store.records() == ()
        store.close()


def test_what_an_agent_wrote_is_there_for_the_next(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    written(path)
    store = Store(str(path))
    assert store.newest() == 50 and len(store.records()) == 50
    store.close()


def test_what_the_log_beside_it_holds_is_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = Store(str(path))
    made = reserve(store, NETWORK, "a")
    log = Path(f"{path}-wal").read_bytes()
    store.close()
    path.write_bytes(b"garbage" * 1000)
    Path(f"{path}-wal").write_bytes(log)
    store = Store(str(path))
    assert [record.attachment for record in store.records()] == [made]
    store.close()


def test_a_full_disk_is_said_and_survived(tmp_path: Path) -> None:
    """S36: nothing is half written; there is room again, it goes on."""
    store = Store(str(tmp_path / "store.db"))
    reserve(store, NETWORK, "a")
    connection = store._db._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(Retryable, match=r"store\.db can't be used: .*full: free space there"):
        for number in range(500):
            reserve(store, NETWORK, f"s{number}")
    held = len(store.records())
    assert store.usage("default") == held
    connection.execute("PRAGMA max_page_count = 100000")
    reserve(store, NETWORK, "more")
    assert len(store.records()) == held + 1
    store.close()


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(Retryable, match="can't be used: unable to open database file"):
        Store(str(tmp_path / "nowhere" / "store.db"))


def test_a_mistake_in_a_statement_is_no_full_disk(store: Store) -> None:
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        store._db.execute("SELECT * FROM nowhere")

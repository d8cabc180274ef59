"""The node's records: what was made for which sandbox, and what is under way. The writer's alone.

What must be unique is UNIQUE in the schema: the database refuses to give anything out twice.
"""

import json
import logging
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any, Literal

from podnet.addresses import IPAddress, IPNetwork
from podnet.attachment import Attachment, AttachRequest, PublishedPort
from podnet.desired import Sandboxed
from podnet.errors import Conflict, Retryable
from podnet.network import Network
from podnet.objects import Netns
from podnet_agent import claims, facts
from podnet_agent.database import Database

log = logging.getLogger(__name__)

# A record is written whole; the defaults are for an agent of an earlier release that takes over.
SCHEMA = """
CREATE TABLE IF NOT EXISTS sandbox (id TEXT PRIMARY KEY, netns TEXT NOT NULL, owner TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'adding') WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS attachment (number INTEGER PRIMARY KEY AUTOINCREMENT,
  sandbox_id TEXT NOT NULL, ifname TEXT NOT NULL, network TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'adding', body TEXT NOT NULL DEFAULT '{}',
  UNIQUE (sandbox_id, ifname));
"""

State = Literal["adding", "ready", "removing"]
Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """An attachment and how far it is: only `ready` ones are desired."""

    attachment: Attachment
    state: State


@dataclass(frozen=True, slots=True)
class Survivor:
    """An attachment that the kernel has and no record tells of."""

    number: int
    network: Network
    request: AttachRequest
    addresses: tuple[IPAddress, ...]  # one of each family that the network has


class Store:
    """A class and no protocol: the test double of SQLite is SQLite with ':memory:'."""

    def __init__(self, path: str) -> None:
        self._db = Database(path, facts.SCHEMA + SCHEMA + claims.SCHEMA)
        self._claims = claims.Claims(self._db)
        self.facts = facts.Facts(self._db)
        self._parsed: dict[int, Attachment] = {}
        """By number: every reconcile reads all, and parsing would be half its time."""

    def close(self) -> None:
        """The file can be removed after this."""
        self._db.close()

    @contextmanager
    def copy(self) -> Iterator["Store"]:
        """Another store with the same records, to try something on; it is gone afterwards."""
        other = Store(":memory:")
        try:
            self._db.copy_to(other._db)
            self._claims.copy_to(other._claims)
            yield other
        finally:
            other.close()

    def forget_network(self, network: str) -> None:
        """A network of that name may come with other subnets now; no address of it is taken."""
        with self._db.transaction():
            self.facts.forget_subnets(network)
            self._claims.forget(network)

    def forget_unused(self, network: str) -> None:
        """The same, unless an address of it is in use by now."""
        if not self.usage(network):
            self.forget_network(network)

    def forget_other_networks(self, networks: Collection[str]) -> None:
        """Forget all but these."""
        for network in self.facts.networks() - set(networks):
            self.forget_network(network)

    # Namespaces that podnet made.

    def add_namespace(self, namespace: Sandboxed) -> None:
        """Write it down before it is made."""
        self._db.execute(
            "INSERT OR REPLACE INTO sandbox (id, netns, owner) VALUES (?, ?, ?)",
            (namespace.sandbox_id, namespace.path, namespace.owner),
        )

    def complete_namespace(self, sandbox_id: str) -> None:
        """From here on the namespace is desired."""
        self._db.execute("UPDATE sandbox SET state = 'ready' WHERE id = ?", (sandbox_id,))

    def condemn(self, sandbox_id: str) -> None:
        """From here on nothing of the sandbox may stay; survives a crash."""
        with self._db.transaction():
            for table, key in ("attachment", "sandbox_id"), ("sandbox", "id"):
                self._db.execute(
                    f"UPDATE {table} SET state = 'removing' WHERE {key} = ?", (sandbox_id,)
                )

    def drop_namespace(self, sandbox_id: str) -> None:
        """Its record goes."""
        self._db.execute("DELETE FROM sandbox WHERE id = ?", (sandbox_id,))

    def namespace_state(self, sandbox_id: str) -> State | None:
        """How far that sandbox's is; None when it has none."""
        row = self._db.execute("SELECT state FROM sandbox WHERE id = ?", (sandbox_id,)).fetchone()
        return row[0] if row else None

    def namespaces(self, *states: State) -> tuple[Sandboxed, ...]:
        """Those in one of the given states, all without."""
        return tuple(
            Sandboxed(sandbox_id, Netns(path), owner)
            for sandbox_id, path, owner, state in self._db.execute(
                "SELECT id, netns, owner, state FROM sandbox ORDER BY id"
            )
            if not states or state in states
        )

    # Attachments.

    def reserve(self, network: Network, request: AttachRequest) -> Attachment:
        """Write the attachment down, addresses and ports claimed, before anything is built.

        Conflict when the interface, an address or a port is taken (it names the holder);
        Retryable when the network has no free address.
        """
        try:
            with self._db.transaction():
                made = self._claimed(network, request, self.newest() + 1, request.addresses)
                self._insert(made, "adding")
                return made
        except (Conflict, Retryable, sqlite3.IntegrityError):
            if self.find(request.sandbox_id, request.ifname):
                raise Conflict(
                    f"{request.owner}: interface {request.ifname} of sandbox {request.sandbox_id}"
                    f" exists already: detach it first or choose another name"
                ) from None
            raise

    def restore(self, newest: int, survivors: Sequence[Survivor]) -> list[str]:
        """Write down what is there without a record; the owners of what could be, all or none.

        No attachment has the number `newest` or a lower one from now on.
        """
        restored = []
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO sqlite_sequence (name, seq) VALUES ('attachment', ?)", (newest,)
            )
            for each in survivors:
                try:
                    with self._db.attempt():
                        self._restore(each)
                except (Conflict, sqlite3.IntegrityError) as error:
                    log.warning("%s can't be taken up again: %s", each.request.owner, error)
                else:
                    restored.append(each.request.owner)
        return restored

    def _restore(self, each: Survivor) -> None:
        made = self._claimed(each.network, each.request, each.number, each.addresses)
        self._insert(made, "ready")

    def _claimed(
        self,
        network: Network,
        request: AttachRequest,
        number: int,
        fixed: tuple[IPAddress, ...],
    ) -> Attachment:
        """Addresses, ports and MAC are given out to the attachment; Conflict, Retryable."""
        wanted = replace(request, addresses=fixed) if fixed != request.addresses else request
        addresses = self._claims.claim_addresses(network, wanted, number)
        for port in request.ports:
            self._claims.claim_port(request, port, number)
        mac = self._claims.claim_mac(network, wanted, addresses, number)
        mtu = network.pod_mtu if request.cni else 0
        return Attachment(number, request, addresses, mac, mtu)

    def _insert(self, made: Attachment, state: State) -> None:
        """Its record, in one statement: a pod waits for each."""
        request = made.request
        self._db.execute(
            "INSERT INTO attachment (number, sandbox_id, ifname, network, state, body)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            (
                made.number,
                request.sandbox_id,
                request.ifname,
                request.network,
                state,
                json.dumps(_to_body(made)),
            ),
        )
        self._parsed[made.number] = made

    def complete(self, number: int, namespace_of: str | None = None) -> None:
        """From here on the attachment is desired, and that sandbox's namespace, made along."""
        ready = "UPDATE attachment SET state = 'ready' WHERE number = ?"
        if namespace_of is None:
            self._db.execute(ready, (number,))
            return
        with self._db.transaction():
            self._db.execute(ready, (number,))
            self.complete_namespace(namespace_of)

    def abandon(self, number: int) -> None:
        """From here on it may only be undone; survives a crash."""
        self._db.execute("UPDATE attachment SET state = 'removing' WHERE number = ?", (number,))

    def release(self, number: int) -> None:
        """The record goes; its address rests a while, its ports are free."""
        record = next(self._records("WHERE number = ?", (number,)), None)
        if record is None:
            return
        with self._db.transaction():
            self._db.execute("DELETE FROM attachment WHERE number = ?", (number,))
            self._claims.release(record.attachment)
        self._parsed.pop(number, None)

    def find(self, sandbox_id: str, ifname: str) -> Record | None:
        """The record of one interface of one sandbox."""
        rows = self._records("WHERE sandbox_id = ? AND ifname = ?", (sandbox_id, ifname))
        return next(rows, None)

    def of_sandbox(self, sandbox_id: str) -> tuple[Record, ...]:
        """All interfaces of one sandbox, oldest first."""
        return tuple(self._records("WHERE sandbox_id = ? ORDER BY number", (sandbox_id,)))

    def of_owner(self, owner: str) -> tuple[Record, ...]:
        """All interfaces of all sandboxes that are this owner's, oldest first."""
        return tuple(each for each in self.records() if each.attachment.request.owner == owner)

    def records(self) -> tuple[Record, ...]:
        """All attachments, oldest first."""
        return tuple(self._records("ORDER BY number", ()))

    def newest(self) -> int:
        """The highest attachment number given out so far; 0 where nothing was ever written."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'attachment'")
        found = row.fetchone()
        return found[0] if found else 0

    def usage(self, network: str) -> int:
        """How many host numbers of the network are given out."""
        return self._claims.usage(network)

    def refuse_full(self, network: Network) -> None:
        """Retryable when every address of the network is given out, or rests."""
        self._claims.refuse_full(network)

    def _records(self, where: str, values: Sequence[object]) -> Iterator[Record]:
        for number, body, state in self._db.execute(
            f"SELECT number, body, state FROM attachment {where}", values
        ):
            attachment = self._parsed.get(number)
            if attachment is None:
                attachment = self._parsed[number] = _from_text(number, body)
            yield Record(attachment, state)


@lru_cache(maxsize=64)
def _text(network: IPNetwork) -> str:
    """Nearly all attachments have the same routes, and an IPv6 network takes its time to print."""
    return str(network)


def _to_body(attachment: Attachment) -> Body:
    request = attachment.request
    return {
        "sandbox": request.sandbox_id,
        "ifname": request.ifname,
        "netns": request.netns,
        "network": request.network,
        "owner": request.owner,
        "fixed": [str(address) for address in request.addresses],
        "mac": [request.mac, attachment.mac],
        "ports": [
            [port.host_port, port.container_port, port.protocol, str(port.host_ip or "")]
            for port in request.ports
        ],
        "routes": [_text(route) for route in request.routes],
        "byHand": request.by_hand,
        "cni": request.cni,
        "cookie": request.netns_cookie,
        "mtu": attachment.mtu,
        "addresses": [str(interface) for interface in attachment.addresses],
    }


def _from_text(number: int, text: str) -> Attachment:
    body: Body = json.loads(text)
    request = AttachRequest(
        sandbox_id=body["sandbox"],
        ifname=body["ifname"],
        netns=Netns(body["netns"]),
        network=body["network"],
        owner=body["owner"],
        addresses=tuple(ip_address(text) for text in body["fixed"]),
        mac=body["mac"][0],
        ports=tuple(
            PublishedPort(host, container, protocol, ip_address(ip) if ip else None)
            for host, container, protocol, ip in body["ports"]
        ),
        routes=tuple(ip_network(text) for text in body["routes"]),
        by_hand=body["byHand"],
        cni=body.get("cni", ""),  # records of an agent before this one may have none
        netns_cookie=body.get("cookie", 0),
    )
    addresses = tuple(ip_interface(text) for text in body["addresses"])
    return Attachment(number, request, addresses, body["mac"][1], body.get("mtu", 0))

"""Addresses and ports given out: which attachment has which. In the store's database.

Choosing is the core's (podnet.addresses); claiming is here, and the tables' primary keys have the
last word: nothing is given out twice. Every method belongs into a transaction of the store.
"""

import json
import time
from collections.abc import Mapping, Sequence
from itertools import chain

from podnet.addresses import (
    IPAddress,
    IPInterface,
    IPNetwork,
    at,
    candidates,
    gateway,
    host_numbers,
    mac_for,
)
from podnet.attachment import Attachment, AttachRequest, PublishedPort
from podnet.errors import Conflict, Retryable
from podnet.network import Network
from podnet_agent.database import Database

QUARANTINE_SECONDS = 30
"""How long a released address rests, so that neighbours forget its last owner's MAC."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS address (network TEXT, host_number BLOB, number INTEGER, released REAL,
  sandbox_id TEXT, PRIMARY KEY (network, host_number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS address_number ON address (number);
CREATE INDEX IF NOT EXISTS address_released ON address (released) WHERE released IS NOT NULL;
CREATE INDEX IF NOT EXISTS address_rests ON address (sandbox_id) WHERE released IS NOT NULL;
CREATE TABLE IF NOT EXISTS port (protocol TEXT, host_port INTEGER, host_ip TEXT, number INTEGER,
  PRIMARY KEY (protocol, host_port, host_ip)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS port_number ON port (number);
CREATE TABLE IF NOT EXISTS mac (network TEXT, mac TEXT, number INTEGER,
  PRIMARY KEY (network, mac)) WITHOUT ROWID;
DROP INDEX IF EXISTS mac_number; -- of earlier releases, which make it again
"""


class Claims:
    """Of one database. Attachments are known by their number."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._last: dict[str, int] = {}  # host number chosen last, by network

    def claim_addresses(
        self, network: Network, request: AttachRequest, number: int
    ) -> tuple[IPInterface, ...]:
        """The fixed addresses, and for families without one the same host number or a free one.

        Conflict when one is taken or no pod's; Retryable when the network has no free one.
        """
        if not request.addresses:
            chosen = self._choose(network, request, number)
            return tuple(network.interface(cidr, chosen) for cidr in network.pod_cidrs)
        hosts: dict[int, int] = {}  # host number by family
        for address in request.addresses:
            cidr = _cidr_for(network, request, address)
            hosts[address.version] = int(address) - int(cidr.network_address)
        for host in sorted(set(hosts.values())):
            if not self._claim(network.name, host, number, request.sandbox_id, rest_seconds=0):
                self._refuse(network, request, hosts, host)
        return tuple(
            network.interface(
                cidr,
                hosts[cidr.version] if cidr.version in hosts else _twin(network, request, hosts),
            )
            for cidr in network.pod_cidrs
        )

    def claim_mac(
        self,
        network: Network,
        request: AttachRequest,
        addresses: Sequence[IPInterface],
        number: int,
    ) -> str:
        """The fixed MAC, or the one that follows from the first address.

        Conflict when it is taken: a bridge could not tell two interfaces of one MAC apart.
        """
        mac = request.mac or mac_for(addresses[0].ip)
        where = f"{request.cause('mac')}: {mac}"
        if mac == mac_for(gateway(network.pod_cidrs[0])):
            raise Conflict(f"{where} is the bridge's of {network.cause}: choose another")
        chosen = not request.addresses and not request.mac  # then with its address
        if not chosen and not self._claim_mac(network, mac, number):
            row = self._db.execute(
                "SELECT body FROM mac JOIN attachment USING (network, number)"
                " WHERE network = ? AND mac = ?",
                (network.name, mac),
            ).fetchone()
            holder = json.loads(row[0]).get("owner") if row else "another sandbox"
            raise Conflict(
                f"{where} is taken on {network.cause} by {holder}: choose another or leave it out"
            )
        return mac

    def claim_port(self, request: AttachRequest, port: PublishedPort, number: int) -> None:
        """Conflict when the port is taken on that address, or on any."""
        host_ip = str(port.host_ip or "")
        row = self._db.execute(
            "SELECT body FROM port LEFT JOIN attachment USING (number) WHERE protocol = ?"
            " AND host_port = ? AND (host_ip = ? OR host_ip = '' OR ? = '')",
            (port.protocol, port.host_port, host_ip, host_ip),
        ).fetchone()
        if row:
            holder = json.loads(row[0]).get("owner") if row[0] else request.owner  # no record yet
            raise Conflict(
                f"{request.cause('ports')}: host port {port.host_port}/{port.protocol}"
                f" is published by {holder} already: choose another hostPort or hostIP"
            )
        self._db.execute(
            "INSERT INTO port VALUES (?, ?, ?, ?)",
            (port.protocol, port.host_port, host_ip, number),
        )

    def release(self, attachment: Attachment) -> None:
        """Its addresses rest for QUARANTINE_SECONDS, its MAC and ports are free."""
        now, number = time.monotonic(), attachment.number
        if attachment.request.ports:
            self._db.execute("DELETE FROM port WHERE number = ?", (number,))
        self._db.execute(
            "DELETE FROM mac WHERE network = ? AND mac = ? AND number = ?",
            (attachment.request.network, attachment.mac, number),
        )
        self._db.execute("UPDATE address SET released = ? WHERE number = ?", (now, number))
        self._db.execute("DELETE FROM address WHERE released < ?", (now - QUARANTINE_SECONDS,))

    def forget(self, network: str) -> None:
        """All addresses of the network are as if never given out."""
        self._last.pop(network, None)
        self._db.execute("DELETE FROM address WHERE network = ?", (network,))

    def refuse_full(self, network: Network) -> None:
        """Retryable when every address of the network is given out, or rests."""
        numbers = host_numbers(network.pod_cidrs)
        row = self._db.execute(
            "SELECT count(*) FROM address WHERE network = ? AND (released IS NULL OR released > ?)",
            (network.name, time.monotonic() - QUARANTINE_SECONDS),
        )
        if row.fetchone()[0] >= numbers.stop - numbers.start:
            raise _full(network)

    def copy_to(self, other: "Claims") -> None:
        """The other one chooses as this one would."""
        other._last = dict(self._last)

    def usage(self, network: str) -> int:
        """How many host numbers of the network are given out."""
        row = self._db.execute(
            "SELECT count(*) FROM address WHERE network = ? AND released IS NULL", (network,)
        )
        count: int = row.fetchone()[0]
        return count

    def _claim(
        self,
        network: str,
        host: int,
        number: int,
        sandbox_id: str,
        *,
        rest_seconds: float = QUARANTINE_SECONDS,
    ) -> bool:
        """True when the host number is this attachment's now.

        Nobody had it, or not for so long, or the same sandbox, which is made anew. An address that
        somebody asks for need not rest: its MAC is the same again, or it is announced.
        """
        long_ago = time.monotonic() - rest_seconds
        done = self._db.execute(
            "INSERT INTO address (network, host_number, number, sandbox_id) VALUES (?, ?, ?, ?)"
            " ON CONFLICT DO UPDATE SET number = excluded.number, released = NULL,"
            " sandbox_id = excluded.sandbox_id"
            " WHERE released <= ? OR released NOTNULL AND sandbox_id = excluded.sandbox_id",
            (network, host.to_bytes(16, "big"), number, sandbox_id, long_ago),
        )
        return done.rowcount == 1

    def _own(self, network: str, sandbox_id: str) -> list[int]:
        """The host numbers that the same sandbox had before it was taken down to be made anew."""
        rows = self._db.execute(
            "SELECT host_number FROM address INDEXED BY address_rests"
            " WHERE released NOTNULL AND network = ? AND sandbox_id = ? ORDER BY number",
            (network, sandbox_id),
        )
        return [int.from_bytes(host, "big") for (host,) in rows]

    def _claim_mac(self, network: Network, mac: str, number: int) -> bool:
        """True when the MAC is this attachment's, now or already."""
        done = self._db.execute(
            "INSERT INTO mac VALUES (?, ?, ?)"
            " ON CONFLICT DO UPDATE SET number = number WHERE number = excluded.number",
            (network.name, mac, number),
        )
        return done.rowcount == 1

    def _choose(self, network: Network, request: AttachRequest, number: int) -> int:
        name = network.name
        after = self._last[name] if name in self._last else self._youngest(name)
        own = self._own(name, request.sandbox_id)
        for host in chain(own, candidates(host_numbers(network.pod_cidrs), after)):
            if not self._claim(name, host, number, request.sandbox_id):
                continue
            mac = request.mac or mac_for(at(network.pod_cidrs[0], host).ip)
            if request.mac or self._claim_mac(network, mac, number):
                if host not in own:
                    self._last[name] = host
                return host
            self._db.execute(
                "DELETE FROM address WHERE network = ? AND number = ?", (name, number)
            )  # somebody chose the MAC that goes with it
        raise _full(network, f"{request.owner}: ")

    def _youngest(self, network: str) -> int | None:
        """The host number given out last, as far as the records of a dead agent tell."""
        row = self._db.execute(
            "SELECT host_number FROM address WHERE network = ? ORDER BY number DESC LIMIT 1",
            (network,),
        ).fetchone()
        return int.from_bytes(row[0], "big") if row else None

    def _refuse(
        self, network: Network, request: AttachRequest, hosts: dict[int, int], host: int
    ) -> None:
        address = next(each for each in request.addresses if hosts[each.version] == host)
        row = self._db.execute(
            "SELECT body FROM address JOIN attachment USING (number)"
            " WHERE address.network = ? AND host_number = ?",
            (network.name, host.to_bytes(16, "big")),
        ).fetchone()
        holder = json.loads(row[0])["owner"]
        raise Conflict(
            f"{request.cause('addresses')}: {address} is taken by {holder} (host number"
            f" {host} of {network.cause}): choose another or leave it out"
        )


def _full(network: Network, who: str = "") -> Retryable:
    ranges = ", ".join(str(cidr) for cidr in network.pod_cidrs)
    return Retryable(
        f"{who}{network.cause} has no free address in {ranges}: delete sandboxes"
        f" (an address rests {QUARANTINE_SECONDS} s) or use another network"
    )


def _twin(network: Network, request: AttachRequest, hosts: Mapping[int, int]) -> int:
    """The host number for a family without a fixed address: the other family's."""
    (host,) = hosts.values()
    if host not in host_numbers(network.pod_cidrs):
        (address,) = request.addresses
        other = 4 if address.version == 6 else 6
        raise Conflict(
            f"{request.cause('addresses')}: {address} has no IPv{other} address of the"
            f" same host number in {network.cause}: give an IPv{other} address too"
        )
    return host


def _cidr_for(network: Network, request: AttachRequest, address: IPAddress) -> IPNetwork:
    """The share that the fixed address is of; Conflict when no pod could have that address."""
    where = f"{request.cause('addresses')}: {address}"
    ranges = [cidr for cidr in network.pod_cidrs if cidr.version == address.version]
    if not ranges:
        raise Conflict(f"{where}: {network.cause} has no IPv{address.version} subnet")
    cidr = ranges[0]
    if address not in cidr:
        raise Conflict(f"{where} lies outside {network.cause}, whose range is {cidr}")
    if address == gateway(cidr):
        raise Conflict(f"{where} is the gateway of {network.cause}, on the bridge: choose another")
    if address == cidr.network_address:
        raise Conflict(f"{where} is the network address of {cidr}: choose another")
    if address.version == 4 and address == cidr.broadcast_address:
        raise Conflict(f"{where} is the broadcast address of {cidr}: choose another")
    return cidr

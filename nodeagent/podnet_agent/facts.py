"""The API objects, and what was decided or found once and holds from then on. In the database."""

import json
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from podnet.addresses import IPNetwork
from podnet_agent.database import Database

Body = dict[str, Any]

SCHEMA = """
CREATE TABLE IF NOT EXISTS object (kind TEXT, namespace TEXT, name TEXT, body TEXT NOT NULL,
  status TEXT NOT NULL DEFAULT '{}', PRIMARY KEY (kind, namespace, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS version (resource INTEGER);
INSERT INTO version SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM version);
CREATE TABLE IF NOT EXISTS subnets (network TEXT PRIMARY KEY, cidrs TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sysctl (name TEXT PRIMARY KEY, before TEXT, links TEXT) WITHOUT ROWID;
"""


class Facts:
    """Bodies are as the API has them; `status` apart, as the API server's subresource."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def put(self, kind: str, namespace: str, name: str, body: Body, version: int) -> None:
        """Write an object's metadata and spec under that resource version; its status stays."""
        with self._db.transaction():
            self._db.execute(
                "INSERT INTO object (kind, namespace, name, body) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET body = excluded.body",
                (kind, namespace, name, json.dumps(body)),
            )
            self._db.execute("UPDATE version SET resource = ?", (version,))

    def put_status(self, kind: str, namespace: str, name: str, status: Body, version: int) -> None:
        """Write an object's status, if the object is still there."""
        with self._db.transaction():
            self._db.execute(
                "UPDATE object SET status = ? WHERE kind = ? AND namespace = ? AND name = ?",
                (json.dumps(status), kind, namespace, name),
            )
            self._db.execute("UPDATE version SET resource = ?", (version,))

    def get(self, kind: str, namespace: str, name: str) -> Body | None:
        """The object with its status, or None."""
        row = self._db.execute(
            "SELECT body, status FROM object WHERE kind = ? AND namespace = ? AND name = ?",
            (kind, namespace, name),
        ).fetchone()
        return {**json.loads(row[0]), "status": json.loads(row[1])} if row else None

    def objects(self, kind: str, namespace: str | None = None) -> list[Body]:
        """All objects of a kind, of one namespace or of all, by namespace and name."""
        rows = self._db.execute(
            "SELECT body, status FROM object WHERE kind = ? AND namespace = coalesce(?, namespace)"
            " ORDER BY namespace, name",
            (kind, namespace),
        )
        return [{**json.loads(body), "status": json.loads(status)} for body, status in rows]

    def forget(self, kind: str, namespace: str, name: str) -> None:
        """Delete the object's row."""
        self._db.execute(
            "DELETE FROM object WHERE kind = ? AND namespace = ? AND name = ?",
            (kind, namespace, name),
        )

    def version(self) -> int:
        """The highest resource version that was ever written."""
        version: int = self._db.execute("SELECT resource FROM version").fetchone()[0]
        return version

    def subnets(self, network: str) -> tuple[IPNetwork, ...]:
        """The network's recorded subnets; empty before they are decided."""
        row = self._db.execute("SELECT cidrs FROM subnets WHERE network = ?", (network,)).fetchone()
        return tuple(ip_network(text) for text in json.loads(row[0])) if row else ()

    def record_subnets(self, network: str, subnets: Sequence[IPNetwork]) -> None:
        """Keep them until the network is forgotten."""
        self._db.execute(
            "INSERT OR REPLACE INTO subnets VALUES (?, ?)",
            (network, json.dumps([str(subnet) for subnet in subnets])),
        )

    def networks(self) -> set[str]:
        """The networks whose subnets are decided."""
        return {name for (name,) in self._db.execute("SELECT network FROM subnets")}

    def forget_subnets(self, network: str) -> None:
        """A network of that name may come with other subnets now."""
        self._db.execute("DELETE FROM subnets WHERE network = ?", (network,))

    def sysctls(self) -> Mapping[str, str]:
        """The host's values that podnet changed, as they were before."""
        return dict(self._db.execute("SELECT name, before FROM sysctl"))

    def record_sysctl(self, name: str, before: str, links: Iterable[int]) -> None:
        """Remember what stood there before podnet first wrote it, and which links there were."""
        row = (name, before, json.dumps(sorted(links)))
        self._db.execute("INSERT OR IGNORE INTO sysctl VALUES (?, ?, ?)", row)

    def links_before(self, name: str) -> set[int]:
        """The indexes of the links there were when podnet first wrote that value."""
        rows = self._db.execute("SELECT links FROM sysctl WHERE name = ?", (name,))
        return {index for (links,) in rows for index in json.loads(links)}

    def forget_sysctl(self, name: str) -> None:
        """It is as before, or nobody's business of ours any more."""
        self._db.execute("DELETE FROM sysctl WHERE name = ?", (name,))

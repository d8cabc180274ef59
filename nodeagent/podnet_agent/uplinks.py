"""Where everything else goes: default routes, and the addresses of the links they lead over."""

from collections.abc import Iterable

from podnet.addresses import IPAddress
from podnet_agent.dumps import NEWADDR, AddressFacts, Message, RouteFacts, address_of
from podnet_agent.machine import PASSING, is_default


class Uplinks:
    """The default routes of the machine, of two with one metric the later; lasting addresses."""

    def __init__(self, routes: Iterable[RouteFacts], addresses: Iterable[AddressFacts]) -> None:
        self._addresses = {
            (facts.ifindex, facts.interface) for facts in addresses if not facts.flags & PASSING
        }
        self._ways: dict[tuple[int, int], tuple[IPAddress | None, int | None]] = {}
        for facts in routes:
            if is_default(facts):
                self.change(facts, there=True)

    def change(self, facts: RouteFacts, *, there: bool) -> bool:
        """One is there, or is no more; whether that is new."""
        key = (facts.destination.version, facts.metric)
        before, way = self._ways.get(key), (facts.gateway, facts.ifindex)
        if there:
            self._ways[key] = way
            return before != way
        self._ways.pop(key, None)
        return True

    def lead_to(self, ifindex: int) -> bool:
        """Whether one of them leads over that link."""
        return any(index == ifindex for _, index in self._ways.values())

    def forget(self, ifindex: int) -> None:
        """The link is down or gone, and routes go along without a word."""
        self._ways = {key: way for key, way in self._ways.items() if way[1] != ifindex}

    def hear(self, message: Message) -> bool:
        """Whether an address that lasts came or went: other nodes reach this one by it.

        A router may advertise the same one every few seconds.
        """
        facts = address_of(message)
        if facts is None:
            return False
        place = facts.ifindex, facts.interface
        known, lasts = place in self._addresses, message.kind == NEWADDR
        if lasts and not facts.flags & PASSING:
            self._addresses.add(place)
            return not known
        self._addresses.discard(place)
        return known

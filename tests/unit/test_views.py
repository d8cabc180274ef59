"""Plans and explanations as plain data: what the socket answers, what the screen shows."""

import json
from dataclasses import replace

from podnet.desired import attachment_objects
from podnet.explain import explain
from podnet.objects import HOST, NOTHING, Bridge, Observed, Seen, Sysctl, Veth
from podnet.plan import plan
from podnet.views import line_body, object_body, plan_body
from support.values import NETWORK, attachment

OBJECTS = list(attachment_objects(NETWORK, attachment()))
BRIDGE = Bridge(
    name="podnet0", mac="02:42:ac:11:00:01", mtu=1500, alias="podnet PodNetwork/a", cause="a b"
)


def test_a_plan_is_its_operations_with_their_commands() -> None:
    assert plan_body(plan([BRIDGE], NOTHING)) == {
        "operations": [
            {
                "verb": "add",
                "kind": "link",
                "netns": "",
                "name": "podnet0",
                "cause": "a b",
                "commands": [
                    "ip link add podnet0 address 02:42:ac:11:00:01 type bridge mcast_snooping 0",
                    "ip link set podnet0 mtu 1500 alias 'podnet PodNetwork/a'",
                ],
            }
        ],
        "conflicts": [],
    }


def test_verbs_are_plain_words() -> None:
    smaller = replace(BRIDGE, mtu=1400)
    changed = plan([BRIDGE], Observed({BRIDGE.key: Seen(smaller, ours=True)}))
    removed = plan([], Observed({BRIDGE.key: Seen(smaller, ours=True)}))
    verbs = [op["verb"] for found in (changed, removed) for op in plan_body(found)["operations"]]
    assert verbs == ["change", "remove"]


def test_what_stands_in_the_way_is_a_sentence() -> None:
    foreign = plan([BRIDGE], Observed({BRIDGE.key: Seen("a veth", ours=False)}))
    assert plan_body(foreign) == {
        "operations": [],
        "conflicts": [
            "link podnet0 exists and is not podnet's (a veth); a b wants it: remove it or choose"
            " another name"
        ],
    }


def test_everything_travels_as_json() -> None:
    body = plan_body(plan(OBJECTS, NOTHING))
    assert json.loads(json.dumps(body)) == body
    assert len(body["operations"]) == len(OBJECTS)
    lines = [line_body(line) for line in explain(OBJECTS, NOTHING)]
    assert json.loads(json.dumps(lines)) == lines


def test_an_object_shows_its_own_fields_and_no_others() -> None:
    (address,) = [object_body(x) for x in OBJECTS if x.key[0] == "address"]
    assert address == {"ifname": "eth0", "interface": "172.17.0.2/16", "routed": True}
    (route,) = [object_body(x) for x in OBJECTS if x.key[0] == "route"]
    assert route == {
        "destination": "0.0.0.0/0",
        "gateway": "172.17.0.1",
        "ifname": "eth0",
        "unreachable": False,
    }
    (veth,) = [object_body(x) for x in OBJECTS if isinstance(x, Veth)]
    assert veth["up"] is True and veth["mtu"] == 1500 and veth["pod_mac"] == "02:42:ac:11:00:02"
    assert object_body(Sysctl(name="a/b", value="1")) == {
        "name": "a/b",
        "value": "1",
        "before": None,
    }
    assert object_body("a veth") == {"foreign": "a veth"}


def test_each_verdict_stands_beside_what_was_found() -> None:
    veth, first, second, *_ = OBJECTS
    assert isinstance(first, Sysctl)
    seen = {
        veth.key: Seen(veth, ours=True, ifindex=7, peer_ifindex=2),
        first.key: Seen(replace(first, value="1"), ours=True),
        second.key: Seen("a stranger", ours=False, ifindex=3),
    }
    bodies = [line_body(line) for line in explain(OBJECTS, Observed(seen))]
    assert [body["verdict"] for body in bodies[:4]] == ["right", "differs", "foreign", "missing"]
    assert (bodies[0]["ifindex"], bodies[0]["peerIfindex"], bodies[0]["found"]) == (7, 2, None)
    assert bodies[1]["found"]["value"] == "1"
    assert bodies[2]["found"] is None
    assert bodies[3]["ifindex"] is None
    assert all(body["commands"] and body["cause"] for body in bodies)


def test_an_explanation_keeps_the_order_it_was_asked_in() -> None:
    lines = explain(reversed(OBJECTS), NOTHING)
    assert [line.what for line in lines] == OBJECTS[::-1]
    assert lines[-1].what.netns == HOST

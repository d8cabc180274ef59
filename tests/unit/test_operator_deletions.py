"""What is deleted under the operator, what it holds until then, and what is made anew (S38)."""

from pathlib import Path

from support.fake_api import NOW, FakeApi
from support.operating import agent, network, node, operator, sandbox, shares, told, until, watching


def held(api: FakeApi, plural: str, name: str, namespace: str = "") -> bool:
    """Whether it has our finalizer."""
    finalizers = api.get(plural, name, namespace)["metadata"].get("finalizers") or []
    return "podnet.dev/in-use" in finalizers


def test_a_network_in_use_is_held_until_it_is_not(tmp_path: Path) -> None:
    """S38: deleted with sandboxes on it, and with the operator away meanwhile."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        sandbox(api, "web", podNetwork="blue")
        async with operator():
            await until(
                lambda: api.get("podnetworks", "blue")["metadata"].get("finalizers"), "a finalizer"
            )
            api.delete("podnetworks", "blue")
            said = await until(
                lambda: api.condition("podnetworks", "blue", "Removable").get("message"), "why"
            )
            assert said.startswith(
                "PodSandbox default/web are on it: delete those first, or let it go all the same:"
                " kubectl patch podnetwork blue"
            )
            assert len(shares(api)) == 2
        api.take("podsandboxes", "web", "default")
        async with operator():
            await until(lambda: not api.objects["podnetworks"], "the network to go")
            await until(lambda: not shares(api), "its shares to go")

    told(tmp_path, story)


def test_an_operator_that_is_told_to_end_holds_on(tmp_path: Path) -> None:
    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        sandbox(api, "web", podNetwork="blue")
        async with operator():
            await until(lambda: held(api, "podnetworks", "blue"), "a finalizer")
        assert held(api, "podnetworks", "blue")

    told(tmp_path, story)


def test_an_operator_that_is_deleted_with_podnet_lets_go_of_all(tmp_path: Path) -> None:
    """What it may do then was made before it held anything, and goes with the namespace."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        sandbox(api, "web", podNetwork="blue")
        async with operator():
            await until(lambda: held(api, "podnetworks", "blue"), "a finalizer")
            assert held(api, "serviceaccounts", "podnet-operator", "default")
            for plural in ("clusterroles", "clusterrolebindings"):
                made = api.get(plural, "podnet-operator-leaving")["metadata"]
                (owner,) = made["ownerReferences"]
                assert owner["uid"] == api.get("namespaces", "default")["metadata"]["uid"]
            going = {"deletionTimestamp": NOW, "finalizers": ["kubernetes"]}
            api.put("namespaces", "default", metadata=going)
            api.delete("serviceaccounts", "podnet-operator", "default")
            api.delete("podnetworks", "blue")
        assert not api.objects["podnetworks"]
        assert not api.objects["serviceaccounts"]

    told(tmp_path, story)


def test_what_is_deleted_while_the_operator_is_away_is_gone(tmp_path: Path) -> None:
    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        network(api, "green", "10.9.0.0/16")
        async with operator():
            await until(lambda: len(shares(api)) == 4, "four shares")
        api.take("podnetworks", "blue")
        async with operator():
            await until(lambda: list(shares(api)) == ["green.w1", "green.w2"], "blue's to go")

    told(tmp_path, story)


def test_kinds_that_are_deleted_wait_for_no_finalizer(tmp_path: Path) -> None:
    """While the operator was away: only networks are left of all, and held by us."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        sandbox(api, "web", podNetwork="blue", nodeName="w1")
        async with operator():
            await until(
                lambda: api.get("podnetworks", "blue")["metadata"].get("finalizers"), "a finalizer"
            )
        for plural in ("podsandboxes", "nodesubnets", "podnetworks"):
            api.drop_kind(plural)
        assert api.missing == {"podsandboxes", "nodesubnets"}
        async with operator():
            await until(lambda: "podnetworks" in api.missing, "the last kind to go")
            for plural in ("podnetworks", "podsandboxes", "nodesubnets"):
                api.restore_kind(plural)
            network(api, "blue", "10.8.0.0/16")
            await until(lambda: len(shares(api)) == 2, "shares of the network made anew", 20)

    told(tmp_path, story)


def test_a_kind_whose_objects_went_without_a_word_holds_no_network(tmp_path: Path) -> None:
    """A watch that is just being made anew hears of no deletion, and of a kind there is no list."""

    async def story(api: FakeApi) -> None:
        network(api, "default")
        sandbox(api, "web", nodeName="w1")
        async with operator(look_seconds=0.3):
            await until(lambda: len(shares(api)) == 2, "two shares")
            agent(api, "default.w1", used=1)
            await until(lambda: held(api, "podnetworks", "default"), "a finalizer")
            await until(lambda: watching(api), "every watch")
            for plural in ("podsandboxes", "nodesubnets"):
                for namespace, name in list(api.objects[plural]):
                    api.take(plural, name, namespace, told=False)
                api.drop_kind(plural)
            api.drop_kind("podnetworks")
            await until(lambda: "podnetworks" in api.missing, "the last kind to go")

    told(tmp_path, story)


def test_a_network_that_goes_gets_no_shares_more(tmp_path: Path) -> None:
    """Not even `default`, which follows the nodes."""

    async def story(api: FakeApi) -> None:
        network(api, "default")
        sandbox(api, "web", nodeName="w1")
        async with operator():
            await until(lambda: len(shares(api)) == 2, "two shares")
            await until(lambda: held(api, "podnetworks", "default"), "a finalizer")
            api.delete("podnetworks", "default")
            await until(
                lambda: api.condition("podnetworks", "default", "Removable").get("message"), "why"
            )
            api.take("nodesubnets", "default.w2")
            node(api, "w3", 3)
            network(api, "blue", "10.8.0.0/16")
            await until(lambda: "blue.w3" in shares(api), "another network's share")
            assert [name for name in shares(api) if "default" in name] == ["default.w1"]

    told(tmp_path, story)


def test_all_returns_where_it_was_when_everything_was_deleted(tmp_path: Path) -> None:
    """A person deletes the CRDs while pods run, and applies them again."""

    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        async with operator():
            await until(lambda: len(shares(api)) == 2, "two shares")
            await until(lambda: watching(api), "every watch")
            api.take("nodes", "w1")
            api.take("podnetworks", "blue")
            await until(lambda: not shares(api), "no shares")
            node(api, "w0", 7)
            node(api, "w1", 1)
            network(api, "blue", "10.8.0.0/16")
            await until(lambda: len(shares(api)) == 3, "three shares")
            assert shares(api) == {
                "blue.w0": "10.8.2.0/24",
                "blue.w1": "10.8.0.0/24",
                "blue.w2": "10.8.1.0/24",
            }

    told(tmp_path, story)


def test_a_network_made_anew_takes_over_what_is_left_of_the_old_one(tmp_path: Path) -> None:
    async def story(api: FakeApi) -> None:
        network(api, "blue", "10.8.0.0/16")
        async with operator():
            await until(lambda: len(shares(api)) == 2, "two shares")
        api.take("podnetworks", "blue")
        network(api, "blue", "10.8.0.0/16")
        uid = api.get("podnetworks", "blue")["metadata"]["uid"]
        async with operator():
            await until(
                lambda: all(
                    each["metadata"]["ownerReferences"][0]["uid"] == uid
                    for each in api.objects["nodesubnets"].values()
                ),
                "the new owner",
            )

    told(tmp_path, story)

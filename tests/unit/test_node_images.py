"""How an image's name is read on a node, what its layers are called, who its users are."""

from pathlib import Path

import pytest

from podnet.sandbox import ContainerSpec
from podnet_agent.runtime import Files
from podnet_agent.runtime.bundle import ImageConfig, User
from podnet_agent.runtime.containerd.containerd import find_user, record_id
from podnet_agent.runtime.containerd.images import NODE, NodeImage, chain_id, full_name
from podnet_agent.runtime.rootfs import NoSuchUser


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("busybox:1", "docker.io/library/busybox:1"),
        ("me/tool:2", "docker.io/me/tool:2"),
        ("docker.io/me/tool", "docker.io/me/tool:latest"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("registry.k8s.io/pause:3.9", "registry.k8s.io/pause:3.9"),
        ("a.b/c/d@sha256:00", "a.b/c/d@sha256:00"),
    ],
)
def test_a_short_name_is_what_docker_and_kubelet_take_it_for(reference: str, name: str) -> None:
    assert full_name(reference) == name


def test_a_stack_of_layers_has_the_name_that_the_oci_gives_it() -> None:
    assert chain_id(["sha256:a"]) == "sha256:a"
    assert chain_id(["sha256:a", "sha256:b"]) == (
        "sha256:970a948bffa8de94d6e22d747ba8c95030e6e546909f98f54e99a13005e173a8"
    )


def test_names_that_containerd_would_refuse_have_another_one() -> None:
    def of(name: str) -> str:
        return record_id(Files(f"0123456789ab-{name}", name, Path("/"), Path("/")))

    assert of("a-b") == "0123456789ab-a-b"
    assert of("a--b") != of("a---b")
    assert all("--" not in of(name) for name in ("a--b", "a---b"))


def spec(user: str) -> ContainerSpec:
    return ContainerSpec(name="c", image="x", user=user)


def test_users_are_those_of_the_topmost_layer_that_has_any(tmp_path: Path) -> None:
    layers = [tmp_path / name for name in ("top", "middle", "bottom")]
    for layer, uid in zip(layers, (None, 7, 8), strict=True):
        (layer / "etc").mkdir(parents=True)
        if uid:
            (layer / "etc/passwd").write_text(f"app:x:{uid}:{uid}::/:/bin/sh\n")
    image = NodeImage("x", ImageConfig(user="app"), "sha256:b", "sha256:a")
    assert find_user(layers, spec(""), image) == User(7, 7, (7,))


def test_image_host_takes_users_by_number_only() -> None:
    assert find_user([Path("/")], spec(""), NODE) == User(0, 0, (0,))
    assert find_user([Path("/")], spec("5:6"), NODE) == User(5, 6, (6,))
    with pytest.raises(NoSuchUser, match="takes a number"):
        find_user([Path("/")], spec("root"), NODE)

"""A container's OCI config: Docker's defaults, and what the spec and the image ask for."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from podnet.errors import PodNetError
from podnet.objects import HOST, Netns
from podnet.sandbox import ContainerSpec, Mount
from podnet_agent.runtime import seccomp
from podnet_agent.runtime.bundle import ImageConfig, Place, User, argv, config, environment

PLACE = Place(
    id="ab12-web",
    root=Path("/run/b/rootfs"),
    files=Path("/run/s"),
    shm=Path("/run/s/shm"),
    netns=Netns("/run/netns/podnet-ab12"),
    ipc=Path("/run/s/ipc"),
    uts=Path("/run/s/uts"),
    hostname="web",
)
SPEC = ContainerSpec("web", "host", command=("sh",))
IMAGE = ImageConfig(
    entrypoint=("/entry", "-e"),
    cmd=("serve",),
    env=("PATH=/app", "A=1=2", "EMPTY"),
    working_dir="/app",
    user="app",
)


def made(
    spec: ContainerSpec = SPEC,
    image: ImageConfig = IMAGE,
    user: User = User(),  # noqa: B008 - frozen
    place: Place = PLACE,
    *,
    tty: bool = False,
    swap: bool = False,
) -> Any:
    text = config(spec, image, user, place, "x86_64", tty=tty, swap=swap, open_files=(1024, 4096))
    return json.loads(text)


@pytest.mark.parametrize(
    ("command", "args", "expected"),
    [
        pytest.param((), (), ("/entry", "-e", "serve"), id="the image's own"),
        pytest.param((), ("x",), ("/entry", "-e", "x"), id="args replace CMD"),
        pytest.param(("c",), (), ("c",), id="command replaces ENTRYPOINT and drops CMD"),
        pytest.param(("c",), ("x",), ("c", "x"), id="both replace both"),
    ],
)
def test_command_and_args_are_a_pods(
    command: tuple[str, ...], args: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert argv(ContainerSpec("web", "i", command=command, args=args), IMAGE) == expected


def test_no_command_at_all_is_said() -> None:
    with pytest.raises(
        PodNetError, match=r"image i names no command: give one in spec\.containers"
    ):
        argv(ContainerSpec("web", "i"), ImageConfig())


def test_variables_of_the_container_win_over_the_images_and_dockers() -> None:
    spec = ContainerSpec("web", "i", env=(("A", "3"), ("HOSTNAME", "other")))
    assert environment(spec, IMAGE, "web", tty=True) == (
        "PATH=/app",
        "HOSTNAME=other",
        "TERM=xterm",
        "A=3",
        "EMPTY=",
    )
    default = environment(SPEC, ImageConfig(), "web", tty=False)
    assert default == (
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOSTNAME=web",
    )


def test_it_joins_its_sandbox_and_has_mounts_and_processes_of_its_own() -> None:
    namespaces = {each["type"]: each.get("path") for each in made()["linux"]["namespaces"]}
    assert namespaces == {
        "mount": None,
        "pid": None,
        "cgroup": None,
        "ipc": "/run/s/ipc",
        "uts": "/run/s/uts",
        "network": "/run/netns/podnet-ab12",
    }


def test_host_mode_stays_in_the_machines_network() -> None:
    place = Place(**{name: getattr(PLACE, name) for name in PLACE.__slots__} | {"netns": HOST})
    assert "network" not in {each["type"] for each in made(place=place)["linux"]["namespaces"]}


def test_only_root_has_capabilities_at_once() -> None:
    root = made()["process"]["capabilities"]
    assert len(root["bounding"]) == 14
    assert root["effective"] == root["permitted"] == root["bounding"]
    assert "CAP_NET_ADMIN" not in root["bounding"]
    other = made(user=User(1000, 1000, (5,)))["process"]
    assert set(other["capabilities"]) == {"bounding"}
    assert other["user"] == {"uid": 1000, "gid": 1000, "additionalGids": [5]}


def test_no_limits_but_dockers_devices_where_none_are_asked_for() -> None:
    assert made()["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}


def test_limits() -> None:
    spec = ContainerSpec("web", "i", ("sh",), millicpus=1500, memory_bytes=64 << 20, pids=9)
    resources = made(spec)["linux"]["resources"]
    assert resources["cpu"] == {"quota": 150_000, "period": 100_000}
    assert (resources["memory"], resources["pids"]) == ({"limit": 64 << 20}, {"limit": 9})
    both = made(spec, swap=True)["linux"]["resources"]["memory"]
    assert both == {"limit": 64 << 20, "swap": 128 << 20}
    least = ContainerSpec("web", "i", ("sh",), millicpus=1)
    assert made(least)["linux"]["resources"]["cpu"]["quota"] == 1000


def test_working_directory_is_the_specs_else_the_images_else_the_root() -> None:
    assert made()["process"]["cwd"] == "/app"
    assert made(image=ImageConfig())["process"]["cwd"] == "/"
    own = ContainerSpec("web", "i", ("sh",), working_dir="/srv")
    assert made(own)["process"]["cwd"] == "/srv"


def test_mounts_come_after_what_they_lie_in() -> None:
    mounts = (Mount("/a", "/data/inner", read_only=True), Mount("/b", "/data"))
    spec = ContainerSpec("web", "i", ("sh",), mounts=mounts, read_only_root=True)
    place = Place(
        **{name: getattr(PLACE, name) for name in PLACE.__slots__}
        | {"tmpfs": ("/run", "/tmp"), "hidden": ("/secret",)}
    )
    found = made(spec, place=place)
    order = [each["destination"] for each in found["mounts"]]
    assert order[-7:] == [
        "/run",
        "/tmp",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/data",
        "/data/inner",
    ]
    options = {each["destination"]: each["options"] for each in found["mounts"]}
    assert options["/data/inner"] == ["rbind", "rprivate", "ro"]
    assert options["/data"] == ["rbind", "rprivate"]
    assert "ro" in options["/tmp"] and "mode=1777" in options["/tmp"]
    assert found["root"] == {"path": "/run/b/rootfs", "readonly": True}
    assert "/secret" in found["linux"]["maskedPaths"]


def test_a_terminal_is_asked_for() -> None:
    assert made(tty=True)["process"]["terminal"] is True
    assert made()["process"]["terminal"] is False


def test_system_calls_are_dockers() -> None:
    profile = seccomp.profile("x86_64")
    assert profile is not None
    assert profile["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]
    allowed = set(profile["syscalls"][0]["names"])
    assert {"read", "execve", "chroot", "ptrace", "openat2", "wait4"} <= allowed
    refused = (
        "mount umount2 setns unshare clone clone3 bpf keyctl reboot init_module io_uring_setup"
    )
    assert not allowed & set(refused.split())
    assert all(re.fullmatch(r"[a-z_0-9]+", name) for name in allowed)
    assert sorted(allowed) == seccomp.ALLOWED.split()
    assert seccomp.profile("riscv64") is None


def test_a_container_has_the_limit_of_open_files_the_agent_was_started_with() -> None:
    limits = made()["process"]["rlimits"]
    assert limits == [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}]

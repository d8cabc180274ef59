"""podnet as the CNI plugin of this machine's containerd: install, uninstall."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from podnet_cli import starting


def cni_folders(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where containerd looks, as `folders`: the agent's options for it."""

    @click.option("--bin-dir", metavar="FOLDER", help="Where containerd looks for CNI plugins.")
    @click.option("--conf-dir", metavar="FOLDER", help="And for their configurations.")
    @wraps(function)
    def with_folders(bin_dir: str | None, conf_dir: str | None, **options: Any) -> Any:
        given = {"--bin-dir": bin_dir, "--conf-dir": conf_dir}
        folders = [word for name, value in given.items() if value for word in (name, value)]
        return function(folders=folders, **options)

    return with_folders


@click.group()
def cni() -> None:
    """Be the CNI plugin of this machine's containerd, or no more.

    The folders are those of containerd's configuration where they are left out.
    """


@cni.command()
@cni_folders
def install(folders: list[str]) -> None:
    """Have containerd call podnet for Pods.

    Starts the agent where none runs: the configuration is written once Pods can be attached.
    """
    starting.need_root()
    starting.call_or_start("GET", "/version")
    starting.become_agent("install", folders)


@cni.command()
@cni_folders
def uninstall(folders: list[str]) -> None:
    """Have containerd call podnet no more; only podnet's own two files go."""
    starting.become_agent("uninstall", folders)

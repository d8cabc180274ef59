"""The commands but `get`, as click sees them: each is imported when it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

import click

from podnet_cli.client import Failure

WHERE = {
    "up": "machine:up",
    "down": "machine:down",
    "apply": "objects:apply",
    "delete": "objects:delete",
    "get": "commands:get",
    "describe": "objects:describe",
    "wait": "waiting:wait",
    "status": "status:status",
    "logs": "containers:logs",
    "exec": "containers:execute",
    "run": "commands:run_in_sandbox",
    "attach": "wires:attach",
    "detach": "wires:detach",
    "plan": "reasons:plan",
    "explain": "reasons:explain",
    "agent": "machine:agent",
    "cni": "plugin:cni",
    "doctor": "machine:doctor",
    "version": "machine:version",
    "api-resources": "machine:api_resources",
    "completion": "commands:completion",
}
"""Each command's module and name in it, in the order in which help lists them."""


class Commands(click.Group):
    """Commands by name, imported when asked for."""

    def __init__(self, *, where: Mapping[str, str], **given: Any) -> None:
        super().__init__(**given)
        self._where = where

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the order in which help shows them."""
        return list(self._where)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; UsageError with what may have been meant."""
        if cmd_name not in self._where:
            from difflib import get_close_matches  # 8 ms that nobody else needs

            close = get_close_matches(cmd_name, self._where, 1)
            meant = f" Did you mean {close[0]}?" if close else ""
            raise click.UsageError(f"No such command '{cmd_name}'.{meant}")
        module, _, attribute = self._where[cmd_name].partition(":")
        command: click.Command = getattr(import_module(f"podnet_cli.{module}"), attribute)
        return command


def run(program: str, arguments: Sequence[str], group: click.Group | None = None) -> int:
    """Run the command of the group, else of `podnet`, that the arguments name; its exit code."""
    try:
        code = (group or podnet).main(list(arguments), prog_name=program, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 0
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else program
        sentence = " ".join(error.format_message().split()).rstrip(".")
        see = f"{sentence} See" if sentence.endswith("?") else f"{sentence}: see"
        raise Failure(f"{see} `{path} --help`") from None
    except click.ClickException as error:
        raise Failure(error.format_message()) from None
    except click.Abort:
        raise KeyboardInterrupt from None
    return code if isinstance(code, int) else 0


@click.group(
    cls=Commands,
    where=WHERE,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-n", "--namespace", metavar="NAME", help="The namespace; `default` when left out.")
def podnet(namespace: str | None) -> None:
    """Pod networking you can read: sandboxes, bridges, veth pairs, and why each is there."""


def namespace_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """-n, before the command's name or behind it."""

    def either(ctx: click.Context, _: click.Parameter, value: str | None) -> str:
        return value or ctx.find_root().params.get("namespace") or "default"

    option = click.option(
        "-n",
        "--namespace",
        metavar="NAME",
        callback=either,
        help="The namespace; `default` when left out.",
    )
    return option(function)


@click.command(
    add_help_option=False,
    short_help="Show objects, once or as they change.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def get(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Show objects; what it takes is read in listing.py, which needs no click."""
    from podnet_cli.listing import get

    namespace = ctx.find_root().params.get("namespace")
    return get([*(["-n", namespace] if namespace else []), *arguments])


@click.command(
    "run",
    add_help_option=False,
    short_help="Run a command in a sandbox of its own.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def run_in_sandbox(ctx: click.Context, arguments: tuple[str, ...]) -> int:
    """Run a command; what it takes is read in running.py, which needs no click."""
    from podnet_cli.running import run

    namespace = ctx.find_root().params.get("namespace")
    return run([*(["-n", namespace] if namespace else []), *arguments])


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print what lets a shell complete words.

    For example: source <(podnet completion bash).
    """
    from click.shell_completion import get_completion_class

    program = ctx.find_root().info_name or "podnet"
    found = get_completion_class(shell)
    assert found is not None, shell
    variable = f"_{program.replace('-', '_').upper()}_COMPLETE"
    print(found(podnet, {}, program, variable).source())

"""An interface more for a running sandbox, from outside, and its removal: pipework's job."""

import click

from podnet.kinds import GROUP
from podnet_cli.client import call, path_of
from podnet_cli.commands import namespace_option
from podnet_cli.resources import sandbox_name

_IFNAME = click.option(
    "--ifname", default="eth1", show_default=True, help="The interface's name in the sandbox."
)


@click.command()
@click.argument("sandbox")
@click.option(
    "--network", default="default", show_default=True, help="The PodNetwork to plug it into."
)
@_IFNAME
@click.option(
    "--address", "addresses", multiple=True, help="An address of that network; else chosen."
)
@click.option("--mac", help="Its MAC; from the address when left out.")
@click.option(
    "--route",
    "routes",
    multiple=True,
    metavar="CIDR",
    help="A destination that is behind the network's gateway; 0.0.0.0/0 is everything.",
)
@namespace_option
def attach(
    sandbox: str,
    network: str,
    ifname: str,
    addresses: tuple[str, ...],
    mac: str | None,
    routes: tuple[str, ...],
    namespace: str,
) -> None:
    """Give a running sandbox an interface, from outside."""
    name = sandbox_name(sandbox)
    body = {
        "sandbox": name,
        "namespace": namespace,
        "network": network,
        "ifname": ifname,
        "addresses": list(addresses),
        "mac": mac,
        "routes": list(routes),
    }
    made = call("POST", "/attachments", body)["attachment"]
    facts = " ".join([*made.get("addresses", addresses), made.get("mac") or ""]).strip()
    print(f"podsandbox.{GROUP}/{name}: {ifname} attached to {network}: {facts}")


@click.command()
@click.argument("sandbox")
@_IFNAME
@namespace_option
def detach(sandbox: str, ifname: str, namespace: str) -> None:
    """Take away what `attach` gave, without a trace."""
    name = sandbox_name(sandbox)
    call("DELETE", path_of("attachments", namespace, name, ifname))
    print(f"podsandbox.{GROUP}/{name}: {ifname} detached")

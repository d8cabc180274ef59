"""`podnet status`: what runs on this machine, and what is wrong, on one screen."""

import os

import click

from podnet.kinds import CLUSTER_KINDS
from podnet_cli.client import Request
from podnet_cli.overview import lines, of_machine


@click.command()
def status() -> int:
    """Show what runs, and what is wrong.

    The exit code is 1 where something is wrong.
    """
    asked = [
        Request("GET", path)
        for path in ("/version", *(f"/objects/{kind.plural}" for kind in CLUSTER_KINDS))
    ]
    agent, *found = [request.answer() for request in asked]
    objects = [body for answer in found for body in answer["items"]]
    overview = of_machine(os.uname().nodename, agent, objects)
    print("\n".join(lines(overview)))
    return 1 if overview.problems else 0

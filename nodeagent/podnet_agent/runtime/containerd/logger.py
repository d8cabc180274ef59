"""The program that writes containers' logs on the node: put where the node finds it.

containerd's shim starts it there, so the agent's image brings it, and a folder that agent and node
share takes it over. See nodeagent/logger/logger.c for what it does.
"""

from pathlib import Path

from podnet_agent.placing import own_program, place

NAME = "podnet-logger"


def install(folder: Path) -> Path:
    """The program in `folder` is the one that came with this agent; where it is."""
    target = folder / NAME
    place(target, own_program(NAME), 0o755)
    return target

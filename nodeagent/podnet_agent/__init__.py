"""The node's agent: makes one machine's kernel, containers and records agree with the objects."""

"""The agent as a CNI plugin: what the shim hands on, answered by the one way of attaching."""

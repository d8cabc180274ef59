"""The container network interface: calls, errors and results as values. Pure.

The rules are those of the specification (containernetworking/cni, SPEC.md, 1.1.0) and, where it
leaves something open, those of its own plugins' frame (pkg/skel).
"""

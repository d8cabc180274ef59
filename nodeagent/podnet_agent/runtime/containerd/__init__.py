"""Containers of a cluster's node by its containerd. Only client.py imports grpc, when used."""

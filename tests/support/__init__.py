"""What tests, demo and benches stand on: private hosts, traffic, the program and its peers.

Hosts and `enter` need the standard library alone; nothing in here is installed with podnet.
"""

"""podnet's core: what should be in a kernel, why, and which steps lead there.

Pure: no I/O, no clock, no chance. Only `podnet.api` knows the API objects' wire format.
"""

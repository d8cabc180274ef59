"""The nftables table `inet podnet`: its constant text and the version that text has."""

from hashlib import sha256

TEXT = """\
"""
VERSION = sha256(TEXT.encode()).hexdigest()[:12]

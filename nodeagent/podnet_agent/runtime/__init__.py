"""What runs containers on one machine: images, root file systems, OCI bundles, runc under conmon.

Nothing here knows of sandboxes or of the loop's state; podnet_agent.containers puts it together.
"""

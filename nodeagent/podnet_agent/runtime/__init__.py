"""Container runtimes: images, OCI bundles, and runc under conmon."""

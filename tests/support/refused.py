"""What both the models and the API server refuse, with the same sentence, or accept."""

from support import refused_networks, refused_sandboxes

REFUSED = refused_networks.REFUSED | refused_sandboxes.REFUSED
ACCEPTED = refused_networks.ACCEPTED | refused_sandboxes.ACCEPTED

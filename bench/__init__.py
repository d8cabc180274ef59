"""How fast, how small: podnet beside its peers, in interleaved rounds. `python -m bench`."""

import sys
from pathlib import Path

# Private hosts, dockerd and the CNI plugins are the tests': one of each is enough.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

"""After every step of everything that is done, a kill leaves nothing half done and nothing over.

support/crash.py has the scenarios, and says what is killed where and what is compared.
"""

import os
import sys

import pytest

from support.crash import SCENARIOS
from support.host import Host
from support.node import IMPORTS


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_next_agent_finishes_or_undoes_what_a_killed_one_was_about(
    host: Host, name: str
) -> None:
    """S3"""
    done = host.run(
        [sys.executable, "-m", "support.crash", name],
        env={**os.environ, "PYTHONPATH": IMPORTS},
        check=False,
        timeout=50,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3, "so few steps can't be all"

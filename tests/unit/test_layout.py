"""The layout holds: folders are places on the path, packages are names."""

import operator
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from podnet.desired import NodeState, attachment_objects, desired
from podnet.objects import HOST, Sysctl
from podnet.ruleset import TEXT
from support.values import DUAL, NETWORK, NODE, attachment, sandboxed

ROOT = Path(__file__).parents[2]
CODE = ("core/podnet", "operator/podnet_operator", "nodeagent/podnet_agent", "cli/podnet_cli")
LONGEST_MODULE = 350


def modules() -> list[Path]:
    return [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]


def test_operator_is_the_standard_librarys() -> None:
    assert "podnet" not in str(operator.__file__)
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_no_module_holds_a_second_noun() -> None:
    sizes = {path: len(path.read_text().splitlines()) for path in modules()}
    assert {str(path): n for path, n in sizes.items() if n > LONGEST_MODULE} == {}


def test_every_module_is_in_the_architecture_page() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = {path for path in modules() if path.name != "__init__.py"}
    missing = [str(path.relative_to(ROOT)) for path in named if f"{path.stem}.py" not in page]
    assert missing == []


def test_every_setting_chain_and_set_is_in_the_data_path_page() -> None:
    page = (ROOT / "docs" / "datapath.md").read_text()
    node = replace(NODE, accepts_ra=True)
    wanted = attachment(26, "172.17.0.2/16", "fd00:17::2/64", mac="02:00:00:00:00:07")
    state = NodeState(node, (DUAL,), (sandboxed(),), (wanted,))
    plain = attachment_objects(NETWORK, attachment())
    spelt = {
        thing.name.replace("/podnet0/", "/BRIDGE/").replace(
            "/eth0/", "/UPLINK/" if thing.netns == HOST else "/IFNAME/"
        )
        for thing in [*desired(state), *plain]
        if isinstance(thing, Sysctl)
    }
    names = spelt | set(re.findall(r"(?:chain|set|map) (pn_(?!version)\w+)", TEXT))
    assert len(names) > 30
    assert {name for name in names if name not in page} == set()


def test_no_commit_names_a_registry_or_a_path_of_one_machine() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    pattern = re.compile(r"(https?://[\w.]*(pypi|pythonhosted|npmjs|deb\.debian)|/work/)")
    found = [
        name
        for name in tracked
        if name
        and name != "tests/unit/test_layout.py"
        and (ROOT / name).is_file()
        and pattern.search((ROOT / name).read_text(errors="replace"))
    ]
    assert found == []


def test_getting_objects_imports_neither_pydantic_nor_yaml() -> None:
    code = (
        "import sys, podnet_cli.main, podnet_cli.client, podnet_cli.objects;"
        "print([m for m in ('pydantic', 'yaml', 'asyncio', 'http.client') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

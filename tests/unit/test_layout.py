"""The layout holds: folders are places on the path, packages are names."""

import operator
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("core/podnet", "nodeagent/podnet_agent", "cli/podnet_cli")
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

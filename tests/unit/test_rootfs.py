"""Who runs a container's process: names and numbers by the image's own files."""

from pathlib import Path

import pytest

from podnet_agent.runtime.bundle import User
from podnet_agent.runtime.rootfs import NoSuchUser, find_user

PASSWD = """root:x:0:0:root:/root:/bin/sh
app:x:77:78::/home/app:/bin/sh
1000:x:5:6::/:/bin/sh
broken:x:no:1::/:/bin/sh
short:x
"""
GROUP = "root:x:0:\napp:x:78:\nadm:x:4:app,other\nwheel:x:10:other,app\nbad:x:x:app\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.mark.parametrize(
    ("text", "user"),
    [
        pytest.param("", User(0, 0, (0,)), id="nobody named is root"),
        pytest.param("app", User(77, 78, (78, 4, 10)), id="a name, with its groups"),
        pytest.param("77", User(77, 78, (78, 4, 10)), id="a number that passwd has"),
        pytest.param("4711", User(4711, 0, (0,)), id="a number that it has not"),
        pytest.param("1000", User(5, 6, (6,)), id="a name of digits"),
        pytest.param("app:adm", User(77, 4, (4,)), id="a group by name, and no others"),
        pytest.param("app:4711", User(77, 4711, (4711,)), id="a group by number"),
        pytest.param("0:0", User(0, 0, (0,)), id="numbers"),
    ],
)
def test_who_it_is(text: str, user: User, root: Path) -> None:
    assert find_user(root, text) == user


@pytest.mark.parametrize("text", ["nobody", "broken", "short", "app:nobody", "app:bad", "9" * 10])
def test_who_is_not_there(text: str, root: Path) -> None:
    with pytest.raises(NoSuchUser, match=r"is not in the image's /etc/(passwd|group): name one"):
        find_user(root, text)


def test_numbers_do_without_files(tmp_path: Path) -> None:
    assert find_user(tmp_path, "7:8") == User(7, 8, (8,))
    with pytest.raises(NoSuchUser):
        find_user(tmp_path, "root")


@pytest.mark.parametrize("target", ["/etc/passwd", "../../../../../../../../etc/passwd"])
def test_links_lead_nowhere_out_of_the_image(target: str, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").symlink_to(target)
    with pytest.raises(NoSuchUser):
        find_user(tmp_path, "root")


def test_links_within_the_image_are_followed(root: Path) -> None:
    (root / "etc/passwd").rename(root / "real")
    (root / "etc/passwd").symlink_to("/real")
    assert find_user(root, "app").uid == 77

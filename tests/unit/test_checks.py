"""Checks of a machine, as a person and as a program read them."""

import pytest

from podnet_agent.checks import Check, checks_body, is_fit, lines

FINE = Check("root", "ok", "root")
SO_SO = Check("uplink", "warning", "no default route: pods reach this machine and no other")
LACKING = Check("runc", "missing", "runc is not installed", "apt-get install runc")


@pytest.mark.parametrize(
    ("checks", "fit", "last"),
    [
        ([FINE], True, "this machine is fit for podnet"),
        ([FINE, SO_SO], True, "this machine is fit for podnet, 1 warning"),
        ([SO_SO, SO_SO], True, "this machine is fit for podnet, 2 warnings"),
        ([LACKING, FINE, SO_SO], False, "this machine lacks runc, 1 warning"),
        ([LACKING, LACKING], False, "this machine lacks runc, runc"),
    ],
)
def test_only_what_is_missing_makes_a_machine_unfit(
    checks: list[Check], fit: bool, last: str
) -> None:
    assert is_fit(checks) is fit
    assert lines(checks)[-1] == last


def test_a_check_is_a_line_and_its_command_another() -> None:
    assert lines([FINE, LACKING, SO_SO]) == [
        "ok       root    root",
        "missing  runc    runc is not installed",
        "                   apt-get install runc",
        "warning  uplink  no default route: pods reach this machine and no other",
        "this machine lacks runc, 1 warning",
    ]


def test_a_program_gets_all_of_it() -> None:
    assert checks_body([FINE, LACKING]) == {
        "fit": False,
        "checks": [
            {"name": "root", "verdict": "ok", "sentence": "root", "command": ""},
            {
                "name": "runc",
                "verdict": "missing",
                "sentence": "runc is not installed",
                "command": "apt-get install runc",
            },
        ],
    }

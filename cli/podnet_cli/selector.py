"""Label selectors as kubectl takes them: `app=web,tier!=db,env in (a, b),!old`."""

import re
from collections.abc import Callable, Mapping

from podnet_cli.client import Failure

Labels = Mapping[str, str]

_KEY = r"(?P<key>[A-Za-z0-9][\w./-]*)"
_VALUE = r"(?P<value>[\w.-]*)"
_FORMS = (
    re.compile(rf"{_KEY}\s*(?P<sign>==?|!=)\s*{_VALUE}"),
    re.compile(rf"{_KEY}\s+(?P<sign>in|notin)\s*\((?P<value>[\w.,\s-]*)\)"),
    re.compile(rf"(?P<sign>!?)\s*{_KEY}"),
)


def parse(text: str) -> Callable[[Labels], bool]:
    """A function that says whether labels are meant; Failure where the text is no selector."""
    requirements = [_requirement(each.strip()) for each in re.split(r",(?![^(]*\))", text)]
    return lambda labels: all(requirement(labels) for requirement in requirements)


def _requirement(text: str) -> Callable[[Labels], bool]:
    for form in _FORMS:
        match = form.fullmatch(text)
        if match:
            break
    else:
        raise Failure(f"{text!r} is no label selector: write KEY=VALUE, KEY!=VALUE, KEY or !KEY")
    key, sign = match["key"], match["sign"]
    if "value" not in match.groupdict():
        return lambda labels: (key in labels) is (sign == "")
    values = {value.strip() for value in match["value"].split(",")}
    if sign in ("!=", "notin"):
        return lambda labels: labels.get(key) not in values
    return lambda labels: labels.get(key) in values

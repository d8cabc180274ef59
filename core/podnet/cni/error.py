"""What a CNI call is refused with: the specification's codes, and ours."""

from enum import IntEnum
from typing import Any, ClassVar

from podnet.errors import Conflict, Invalid, PodNetError, Retryable

NEWEST = "1.1.0"
"""The version an error speaks where the call's own is not known."""


class Code(IntEnum):
    """SPEC.md, section "Error"; from 100 on a plugin's own."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    IO_FAILURE = 5
    UNDECODABLE = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    NOT_AVAILABLE = 50
    NOT_AVAILABLE_AND_LIMITED = 51
    CONFLICT = 100  # a person decides
    DIFFERS = 101  # CHECK: the kernel is not as ADD left it


class CniError(PodNetError):
    """A call that is refused. `msg` says which kind of mistake it is, the details all the rest."""

    reason: ClassVar[str] = "Refused"

    def __init__(self, code: Code, msg: str, details: str = "") -> None:
        super().__init__(f"{msg}: {details}" if details else msg)
        self.code, self.msg, self.details = code, msg, details


def bad_environment(variable: str, details: str) -> CniError:
    """Code 4, naming the variable."""
    return CniError(Code.INVALID_ENVIRONMENT, f"invalid {variable}", details)


def bad_config(field: str, details: str) -> CniError:
    """Code 7, naming the field."""
    return CniError(Code.INVALID_CONFIG, f"invalid network config: {field}", details)


def error_body(error: PodNetError, version: str = NEWEST) -> dict[str, Any]:
    """The JSON a refusal is answered with, on standard output."""
    known = error if isinstance(error, CniError) else _translated(error)
    return {
        "cniVersion": version,
        "code": int(known.code),
        "msg": known.msg,
        "details": known.details,
    }


def _translated(error: PodNetError) -> CniError:
    """By who can act: the runtime tries again, or a person decides."""
    if isinstance(error, Retryable):
        return CniError(Code.TRY_AGAIN, "try again later", str(error))
    if isinstance(error, Invalid):
        return CniError(Code.INVALID_CONFIG, "invalid network config", str(error))
    if isinstance(error, Conflict):
        return CniError(Code.CONFLICT, "something is in the way", str(error))
    return CniError(Code.CONFLICT, "podnet failed", str(error))

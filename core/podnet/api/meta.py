"""Meta: what every API object has, and the types their fields are made of."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from podnet.addresses import IPAddress, IPNetwork
from podnet.api.rules import Checked, Rule, with_rules
from podnet.kinds import GROUP, VERSION

API_VERSION = f"{GROUP}/{VERSION}"
ApiVersion = Literal["podnet.dev/v1alpha1"]


Place = tuple[str | int, ...]
"""Where a value stands in an object: the keys and indexes that lead there."""
Found = list[tuple[Place, str]]
"""Mistakes: where, and a sentence."""


class Mistakes(ValueError):
    """What is wrong with fields that can't stand together: each with its place below the model."""

    def __init__(self, found: Found) -> None:
        self.found = found
        super().__init__("; ".join(message for _, message in found))


class Model(BaseModel):
    """Base of all objects: unknown fields are refused, a value never changes.

    A field that is null counts as left out, as the API server of Kubernetes has it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)
    rules: ClassVar[tuple[Rule, ...]] = ()
    """What the API server checks beyond types and bounds; `contradictions` checks the same."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return with_rules(handler.resolve_ref_schema(handler(schema)), cls.rules)

    @model_validator(mode="before")
    @classmethod
    def _nulls_are_left_out(cls, data: Any) -> Any:
        if isinstance(data, dict) and None in data.values():
            return {key: value for key, value in data.items() if value is not None}
        return data

    @model_validator(mode="after")
    def _stands_together(self) -> Self:
        mistakes = self.contradictions()
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def contradictions(self) -> Found:
        """Where fields that are right alone can't be meant together, and what would be right."""
        return []


@dataclass(frozen=True)
class Spelling:
    """How a text must be spelt; beside `str` in an Annotated type."""

    pattern: str
    most: int  # characters
    meaning: str  # stands behind "write"

    def check(self, value: str) -> str:
        """The text; ValueError says what would be right."""
        if len(value) > self.most:
            raise ValueError(f"has {len(value)} characters: write {self.most} at most")
        if not re.fullmatch(self.pattern, value):
            raise ValueError(f"is {spoken(value)}: write {self.meaning}")
        return value

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"pattern": f"^{self.pattern}$", "maxLength": self.most}


_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_LABEL = Spelling(
    _LABEL,
    63,
    "lower-case letters, digits and -, beginning and ending with a letter or digit (a DNS label)",
)
"""RFC 1123, as Kubernetes checks it."""
DNS_SUBDOMAIN = Spelling(
    rf"{_LABEL}(\.{_LABEL})*", 253, "DNS labels (lower-case letters, digits, -) joined by dots"
)
HOSTNAME = Spelling(DNS_SUBDOMAIN.pattern, 64, DNS_SUBDOMAIN.meaning)
"""The kernel's limit is 64 bytes (sethostname(2))."""
HOST = Spelling(r"[A-Za-z0-9_]([-A-Za-z0-9_.]*[A-Za-z0-9_])?\.?", 253, "a host or domain name")
"""As a hosts file and a search list may name it: capitals and _ are in use there."""
LABEL_KEY = Spelling(
    rf"({_LABEL}(\.{_LABEL})*/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?",
    317,
    "a name of letters, digits, -, _ and . with an optional DNS prefix and / before it",
)
LABEL_VALUE = Spelling(
    r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
    63,
    "letters, digits, -, _ and ., beginning and ending with a letter or digit",
)
TEXT = Spelling(r"[^\x00\ud800-\udfff]*", 131_071, "text without NUL bytes")
"""The longest argument or variable that execve(2) takes (MAX_ARG_STRLEN, with its NUL)."""

DnsLabel = Annotated[str, DNS_LABEL]
DnsSubdomain = Annotated[str, DNS_SUBDOMAIN]
Hostname = Annotated[str, HOSTNAME]
Host = Annotated[str, HOST]
Text = Annotated[str, TEXT]
Labels = Annotated[
    dict[Annotated[str, LABEL_KEY], Annotated[str, LABEL_VALUE]],
    Field(max_length=128),
]
Annotations = Annotated[
    dict[Annotated[str, LABEL_KEY], Text],
    Field(max_length=128),
]
Whole = Annotated[int, Strict()]
Truth = Annotated[bool, Strict()]


_IP = "write an IP address such as 172.17.0.9 or fd00::9"
_MAPPED = "^::[fF]{4}:[0-9.]+$"
_IP_IS_IP = Rule(
    f"isIP(self) || self.contains('/') || self.contains('%') || self.matches('{_MAPPED}')",
    f"is {{value}}, which is no IP address: {_IP}",
)
_IP_WITHOUT_PREFIX = Rule(
    "!self.contains('/')",
    "is {value}, which is no IP address: write the address without the prefix length behind /",
)
_IP_WITHOUT_ZONE = Rule("!self.contains('%')", "is {value}: write the address without its zone (%)")
_IP_NOT_MAPPED = Rule(
    f"!self.matches('{_MAPPED}')",
    "is {value}: write the IPv4 address {ipv4}",
    values={"ipv4": "self.split(':')[3]"},
)


def _parse_address(value: Any) -> IPAddress:
    """The address in the text; ValueError says what would be right."""
    if not isinstance(value, (str, IPv4Address, IPv6Address)):
        raise ValueError(f"is {spoken(value)}: {_IP}")
    try:
        address = ip_address(value)
    except ValueError:
        rule = _IP_WITHOUT_PREFIX if "/" in str(value) else _IP_IS_IP
        raise ValueError(rule.say(value=spoken(value))) from None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            raise ValueError(_IP_WITHOUT_ZONE.say(value=spoken(value)))
        if address.ipv4_mapped:
            raise ValueError(_IP_NOT_MAPPED.say(value=value, ipv4=address.ipv4_mapped))
    return address


_CIDR = "write a CIDR such as 10.8.0.0/16 or fd00:8::/64"
_CIDR_IS_CIDR = Rule("isCIDR(self) || isIP(self)", f"is {{value}}, which is no CIDR: {_CIDR}")
_CIDR_WITH_PREFIX = Rule("!isIP(self)", f"is {{value}} without a prefix length: {_CIDR}")
_CIDR_WITHOUT_HOST_BITS = Rule(
    "!isCIDR(self) || cidr(self) == cidr(self).masked()",
    "is {value}, which has host bits set: write {network}",
    words={"network": "the address without them"},
)


def _parse_cidr(value: Any) -> IPNetwork:
    """The CIDR in the text; ValueError says what would be right."""
    if not isinstance(value, str):
        raise ValueError(f"is {spoken(value)}: {_CIDR}")
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        raise ValueError(_CIDR_IS_CIDR.say(value=spoken(value))) from None
    if "/" not in value:
        raise ValueError(_CIDR_WITH_PREFIX.say(value=value))
    try:
        return ip_network(value)
    except ValueError:
        raise ValueError(_CIDR_WITHOUT_HOST_BITS.say(value=value, network=network)) from None


Address = Annotated[
    IPv4Address | IPv6Address,
    BeforeValidator(_parse_address),
    WithJsonSchema({"type": "string", "maxLength": 39}),
    Checked((_IP_IS_IP, _IP_WITHOUT_PREFIX, _IP_WITHOUT_ZONE, _IP_NOT_MAPPED)),
]
Cidr = Annotated[
    IPNetwork,
    BeforeValidator(_parse_cidr),
    WithJsonSchema({"type": "string", "maxLength": 43}),
    Checked((_CIDR_IS_CIDR, _CIDR_WITH_PREFIX, _CIDR_WITHOUT_HOST_BITS)),
]


def spoken(value: Any) -> str:
    """What a person wrote, as a sentence can name it; long values are cut."""
    match value:
        case None:
            return "null"
        case bool():
            return f"the truth value {str(value).lower()}"
        case int() | float():
            return f"the number {value}"
        case str():
            text = (
                value if value and value.isprintable() and value == value.strip() else repr(value)
            )
            return text if len(text) <= 60 else f"{text[:57]}..."
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return "something else"


class Meta(Model):
    """Of a cluster-scoped object. The server's fields stand only in stored objects."""

    name: DnsSubdomain = Field(description="Unique among the objects of its kind (and namespace).")
    labels: Labels = Field(default={}, description="Words to select objects by.")
    annotations: Annotations = Field(default={}, description="Notes of tools; podnet reads none.")
    uid: Text | None = Field(default=None, description="The server's: unlike any other object's.")
    resource_version: Text | None = Field(
        default=None, description="The server's: of this writing."
    )
    generation: Whole | None = Field(
        default=None, description="The server's: counts the spec's changes."
    )
    creation_timestamp: Text | None = Field(default=None, description="The server's: RFC 3339.")
    deletion_timestamp: Text | None = Field(default=None, description="The server's: RFC 3339.")
    deletion_grace_period_seconds: float | None = Field(
        default=None, description="The server's: seconds that containers have to end."
    )


SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""Of metadata: written by the server, so what a manifest says there is not looked at."""


class NamespacedMeta(Meta):
    """Of an object that lies in a namespace."""

    namespace: DnsLabel = Field(
        default="default", description="What the object's name is unique in."
    )

"""What stands in columns, selectors, JSONPaths, durations, options: pure tables."""

import time
from typing import Any

import pytest

from podnet.kinds import find
from podnet_cli import drawing, jsonpath, selector, wanted
from podnet_cli.client import Failure, Refused, path_of
from podnet_cli.logfile import LogFile
from podnet_cli.screen import age, duration
from podnet_cli.tables import Table, standing
from podnet_cli.waiting import Seconds, outlook


@pytest.mark.parametrize("word", ["psb", "PodSandbox", "podsandboxes", "podsandbox.podnet.dev"])
def test_a_kind_has_many_names(word: str) -> None:
    kind = find(word)
    assert kind is not None
    assert kind.kind == "PodSandbox"
    assert find("pods") is None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (190, "3m10s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 120, "5h2m"),
        (47 * 3600, "47h"),
        (49 * 3600, "2d1h"),
        (9 * 86400, "9d"),
        (800 * 86400, "2y70d"),
    ],
)
def test_durations_are_kubectls(seconds: int, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns", "Asia/Tokyo"])
def test_an_age_is_the_same_in_every_time_zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert age("2001-09-09T01:46:40Z", now=1_000_000_065) == "65s"
        assert age("", now=0) == "<unknown>"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("app=web", True),
        ("app==web,tier=front", True),
        ("app!=web", False),
        ("app!=db,other!=x", True),
        ("app in (db, web)", True),
        ("app notin (db,web),tier", False),
        ("tier,!old", True),
        ("old", False),
        ("example.com/x=", True),
    ],
)
def test_selectors_choose_by_labels(text: str, holds: bool) -> None:
    labels = {"app": "web", "tier": "front", "example.com/x": ""}
    assert selector.parse(text)(labels) is holds


BODY: dict[str, Any] = {
    "metadata": {"labels": {"a.b/c": "dotted"}},
    "items": [{"name": "x", "n": 1}, {"name": "y", "n": 2}],
    "conditions": [{"type": "Ready", "status": "True"}, {"type": "Other", "status": "False"}],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[0].name}", "x"),
        ("{.items[-1].n}", "2"),
        ("{.items[*].name}", "x y"),
        ('{.items[0].name}{"\\t"}end', "x\tend"),
        ('{.conditions[?(@.type=="Ready")].status}', "True"),
        ("{.conditions[?(@.type!='Ready')].status}", "False"),
        ("{.metadata.labels.a\\.b/c}", "dotted"),
        ("{.metadata.labels['a.b/c']}", "dotted"),
        ("{.metadata.labels}", '{"a.b/c": "dotted"}'),
        ("{.nothing.there}{.items[9].name}{.items.name}", ""),
    ],
)
def test_jsonpaths_find_what_kubectls_do(template: str, text: str) -> None:
    assert jsonpath.render(template, BODY) == text


def test_a_jsonpath_that_is_none_is_refused() -> None:
    with pytest.raises(Failure, match="is no JSONPath from"):
        jsonpath.render("{.items[}", BODY)


def test_names_in_paths_are_quoted() -> None:
    assert path_of("a", "x/../y z", q="ä&", none=None) == "/a/x%2F..%2Fy%20z?q=%C3%A4%26"


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30.0), ("1m30s", 90.0), ("500ms", 0.5), ("7", 7.0), ("1h", 3600)]
)
def test_timeouts_are_kubectls(text: str, seconds: float) -> None:
    assert Seconds().convert(text, None, None) == seconds


def body(status: dict[str, Any], **meta: Any) -> dict[str, Any]:
    return {
        "kind": "PodSandbox",
        "metadata": {"name": "web", "namespace": "default", "generation": 2, **meta},
        "spec": {"network": {"ports": [{"hostPort": 80, "containerPort": 81, "hostIP": "::"}]}},
        "status": status,
    }


def condition(status: str, message: str = "", generation: int = 2) -> list[dict[str, Any]]:
    return [
        {
            "type": "Ready",
            "status": status,
            "reason": "Retryable",
            "message": message,
            "observedGeneration": generation,
        }
    ]


NOTHING_YET = "it has reported nothing yet"


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, ("waiting", "it has reported nothing yet")),
        (
            {"conditions": condition("True", generation=1)},
            ("waiting", "it has reported nothing yet"),
        ),
        ({"conditions": condition("True")}, ("ready", "ready")),
        ({"phase": "Succeeded", "conditions": condition("False")}, ("ready", "completed")),
        (
            {"phase": "Pending", "conditions": condition("False", "no such network")},
            ("waiting", "no such network"),
        ),
        (
            {
                "phase": "Failed",
                "conditions": condition("False"),
                "containers": [{"name": "c", "state": "exited", "exitCode": 3}],
            },
            ("failed", "container c ended with exit code 3: `podnet logs web -c c` may say why"),
        ),
    ],
    ids=["new", "old news", "ready", "completed", "waits", "failed"],
)
def test_what_up_makes_of_a_status(status: dict[str, Any], expected: tuple[str, str]) -> None:
    assert outlook(body(status)) == expected


def test_standing_says_why_in_one_word() -> None:
    assert standing(body({"phase": "Running"})) == "Running"
    assert standing(body({"phase": "Running"}, deletionTimestamp="now")) == "Terminating"
    assert (
        standing(body({"phase": "Pending", "conditions": condition("False", "x")})) == "Retryable"
    )
    crashed = {"state": "waiting", "reason": "CrashLoopBackOff"}
    assert standing(body({"phase": "Running", "containers": [crashed]})) == "CrashLoopBackOff"


def test_wide_shows_how_it_is_wired() -> None:
    status = {
        "podIPs": [{"ip": "172.17.0.2"}],
        "interfaces": [
            {"mac": "02:42:ac:11:00:02", "bridge": "podnet0", "peer": {"name": "vethpn1"}}
        ],
        "netns": {"path": "/run/netns/podnet-1"},
    }
    table = Table("PodSandbox", wide=True, namespaces=True, labels=True, kinds=False)
    heading, row = table.lines([body(status, creationTimestamp="")], headings=True)
    cells = dict(zip(heading.replace("HOST END", "HOST-END").split(), row.split(), strict=True))
    assert cells["NAMESPACE"] == "default"
    assert cells["HOST-END"] == "vethpn1"
    assert cells["PORTS"] == "[::]:80->81/tcp"
    assert cells["NETNS"] == "/run/netns/podnet-1"
    assert cells["LABELS"] == "<none>"


def test_a_log_is_what_the_container_wrote(tmp_path: Any) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"T1 stdout F one\nT2 stderr P tw\nT3 stderr F o\nT4 stdout F \nT5 stdout P x")
    assert LogFile(str(path)).read() == b"one\ntwo\n\n"
    assert LogFile(str(path), timestamps=True).read() == b"T1 one\nT2 two\nT4 \n"
    log = LogFile(str(path), tail=0)
    assert log.read() == b""
    with path.open("ab") as file:
        file.write(b"y\nT6 stdout F z\n")
    assert log.read() == b"xyz\n"
    path.rename(tmp_path / "old")
    path.write_bytes(b"T7 stdout F new\n")
    assert log.read() == b"new\n"


@pytest.mark.parametrize("tail", [0, 1, 2, 1000, 30_000])
def test_the_tail_of_a_log_is_found_from_its_end(tail: int, tmp_path: Any) -> None:
    lines = [f"line {number}\n" for number in range(20_000)]
    path = tmp_path / "log"
    path.write_text("".join(f"T stdout F {line}" for line in lines))
    expected = "".join(lines[-tail:] if tail else [])
    assert LogFile(str(path), tail=tail).read().decode() == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", {"hostPort": 8080, "containerPort": 80, "protocol": "TCP"}),
        (
            "127.0.0.1:53:5353/udp",
            {"hostIP": "127.0.0.1", "hostPort": 53, "containerPort": 5353, "protocol": "UDP"},
        ),
        ("[::]:1:2", {"hostIP": "::", "hostPort": 1, "containerPort": 2, "protocol": "TCP"}),
    ],
)
def test_ports_are_written_as_dockers(text: str, expected: dict[str, Any]) -> None:
    assert wanted.port(text) == expected


@pytest.mark.parametrize(
    ("net", "network"),
    [
        ("bridge", {"mode": "Bridge"}),
        ("none", {"mode": "None"}),
        ("host", {"mode": "Host"}),
        ("container:web", {"mode": "Container", "sandbox": "web"}),
        ("lan", {"mode": "Bridge", "podNetwork": "lan"}),
    ],
)
def test_networks_are_named_as_dockers(net: str, network: dict[str, str]) -> None:
    made = wanted.sandbox(wanted.Options(command=["x"], name="n", net=net), "default")
    assert made["spec"]["network"] == network


def test_run_builds_the_object_that_its_options_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "taken")
    options = wanted.Options(
        command=["sh", "-c", "true"],
        name="n",
        env=["A=b=c", "OURS"],
        volume=["/a:/b:ro", "./c:/d"],
        hostname="h",
        dns=["1.2.3.4"],
        add_host=["x:::1"],
        mac_address="02:00:00:00:00:01",
        ip="10.0.0.2",
        ip6="fd00::2",
        memory="512m",
        cpus=1.5,
        pids_limit=9,
        user="1:2",
        workdir="/w",
        read_only=True,
        restart="on-failure",
    )
    monkeypatch.chdir("/")
    made = wanted.sandbox(options, "ns")
    assert made["metadata"] == {"name": "n", "namespace": "ns"}
    assert made["spec"] == {
        "network": {
            "mode": "Bridge",
            "addresses": ["10.0.0.2", "fd00::2"],
            "mac": "02:00:00:00:00:01",
        },
        "restartPolicy": "OnFailure",
        "hostname": "h",
        "dns": {"nameservers": ["1.2.3.4"]},
        "hostAliases": [{"ip": "::1", "hostnames": ["x"]}],
        "containers": [
            {
                "name": "main",
                "image": "host",
                "command": ["sh", "-c", "true"],
                "env": [{"name": "A", "value": "b=c"}, {"name": "OURS", "value": "taken"}],
                "workingDir": "/w",
                "mounts": [
                    {"source": "/a", "target": "/b", "readOnly": True},
                    {"source": "/c", "target": "/d"},
                ],
                "user": "1:2",
                "readOnlyRootFilesystem": True,
                "resources": {"limits": {"memory": "536870912", "cpu": "1500m", "pids": 9}},
            }
        ],
    }


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"net": "container:"}, "--net container: is not known"),
        ({"publish": ["80"]}, "-p 80 is no port"),
        ({"volume": ["name:/x"]}, "-v name:/x is no mount"),
        ({"memory": "lots"}, "-m lots is no size"),
        ({"add_host": ["x"]}, "--add-host x is not NAME:IP"),
        ({"command": []}, "image `host` has no command"),
    ],
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Failure, match=sentence):
        wanted.sandbox(wanted.Options(**({"command": ["x"], "name": "n"} | wrong)), "default")


def line(kind: str, what: dict[str, Any], verdict: str = "right", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "netns": "",
        "name": kind,
        "what": what,
        "cause": "PodSandbox/default/web spec.x",
        "commands": ["ip do it"],
        "verdict": verdict,
        **more,
    }


def test_explain_shows_both_ends_and_what_is_wrong() -> None:
    interface = {
        "name": "eth0",
        "ifindex": 19,
        "mac": "02:42:ac:11:00:02",
        "mtu": 1500,
        "addresses": ["172.17.0.2/16"],
        "peer": {"name": "vethpn1", "ifindex": 20},
        "bridge": "podnet0",
    }
    web = body({"phase": "Running", "interfaces": [interface]})
    other = body({"interfaces": [interface | {"peer": {"name": "vethpn2"}}]}, name="api")
    veth = {"host_end": "vethpn1", "bridge": "podnet0", "mtu": 1500}
    route = {"destination": "0.0.0.0/0", "gateway": "172.17.0.1", "ifname": "eth0"}
    lines = [
        line("link", veth, "differs", found=veth | {"mtu": 1400}, ifindex=20, peerIfindex=19),
        line("route", route, "missing"),
        line("element", {"container": "ports", "match": "tcp . 80", "verdict": "jump x"}),
    ]
    text = "\n".join(drawing.screen({"sandbox": web, "lines": lines}, [web, other]))
    for part in (
        "PodSandbox default/web  Running, Bridge mode, PodNetwork default",
        "eth0@if20 (19) --- vethpn1@if19 (20) in podnet0",
        "02:42:ac:11:00:02 = 02:42 and 172.17.0.2 in hexadecimal",
        "route   0.0.0.0/0 via 172.17.0.1",
        "podnet0's ports: vethpn1 (web), vethpn2 (api)",
        "✘ veth vethpn1@if19 (20), port of podnet0, MTU 1500: mtu is 1400"
        "  <- PodSandbox/default/web spec.x",
        "✘ route 0.0.0.0/0 via 172.17.0.1 dev eth0: missing",
        "✔ nft ports { tcp . 80 : jump x }",
        "    ip do it",
    ):
        assert part in text


def test_a_refusal_without_problems_is_kubectls_sentence() -> None:
    refused = Refused({"reason": "Conflict", "message": "podnet0 is a veth"})
    assert refused.text == "Error from server (Conflict): podnet0 is a veth"

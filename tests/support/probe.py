"""Traffic from inside a namespace. A script, started by traffic.py: `python -IS probe.py VERB ...`.

    serve NAME PORT...     answers on TCP and UDP, both families; says `ready` when it listens
    ask SECONDS            asks every target of the JSON list on standard input, all at once
    stream ADDRESS PORT    a thousand datagrams and a hundred TCP messages a second to a server,
                           until standard input ends; then says what was lost

A server answers a request, `?` and a token, with a line of JSON: who it is, whom it sees and at
which of its addresses it was asked. Anything else it sends back as it came. What can't be tried
ends in a traceback, which is not the same as no answer.
"""

import errno
import json
import os
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import Any

IPV6_RECVPKTINFO, IPV6_PKTINFO, IP_PKTINFO = 49, 50, 8
ICMP_ECHO, ICMP_ECHO_REPLY, ICMPV6_ECHO, ICMPV6_ECHO_REPLY = 8, 0, 128, 129
RESEND_SECONDS = 0.1
"""Datagrams may be lost on a busy machine: a silent target is asked again this often."""
SO_RCVBUFFORCE, RECEIVE_BUFFER = 33, 4 << 20
"""Bytes: seconds of a stream fit, so that what is lost was lost on the way."""
NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES, errno.EPERM, errno.EADDRNOTAVAIL)
"""What connecting and sending say when the way, not the attempt, is missing: no route, a route
that is `unreachable` or `prohibit`, a rule that drops what leaves."""

Record = dict[str, Any]


def family_of(address: str) -> socket.AddressFamily:
    """The family an address is of."""
    return socket.AF_INET6 if ":" in address else socket.AF_INET


# --- serve ---


def serve(name: str, ports: list[int]) -> None:
    """Answer until killed."""
    work = []
    for family, wildcard in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        for port in ports:
            try:
                tcp = socket.create_server((wildcard, port), family=family, backlog=128)
            except OSError as error:
                if family == socket.AF_INET6 and error.errno in (
                    errno.EADDRNOTAVAIL,
                    errno.EAFNOSUPPORT,
                ):
                    continue  # the namespace has no IPv6, and nobody can ask for it
                raise
            udp = socket.socket(family, socket.SOCK_DGRAM)
            udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
            if family == socket.AF_INET6:
                udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                udp.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
            else:
                udp.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
            udp.bind((wildcard, port))
            work += [(accept, tcp), (datagrams, udp)]
    for function, listening in work:
        threading.Thread(target=function, args=(listening, name), daemon=True).start()
    print("ready", flush=True)
    threading.Event().wait()


def reply(request: bytes, name: str, peer: tuple[Any, ...], local: str) -> bytes:
    """What a server says to a request."""
    if not request.startswith(b"?"):
        return request
    answer = {"token": request[1:].decode().strip(), "server": name}
    return json.dumps({**answer, "peer": peer[0], "port": peer[1], "local": local}).encode() + b"\n"


def accept(listening: socket.socket, name: str) -> None:
    """Give each connection a thread."""
    while True:
        connection, peer = listening.accept()
        threading.Thread(target=converse, args=(connection, peer, name), daemon=True).start()


def converse(connection: socket.socket, peer: tuple[Any, ...], name: str) -> None:
    """Answer line after line."""
    local = connection.getsockname()[0]
    with suppress(OSError), connection, connection.makefile("rb") as lines:
        for line in lines:  # until the peer goes away
            connection.sendall(reply(line, name, peer, local))


def datagrams(listening: socket.socket, name: str) -> None:
    """Answer each datagram from the address it was sent to."""
    while True:
        request, control, _, peer = listening.recvmsg(2048, 256)
        local, back = "", []
        for level, kind, data in control:
            if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
                local = socket.inet_ntop(socket.AF_INET, data[4:8])
                back = [(level, kind, struct.pack("=i4s4x", 0, data[4:8]))]
            elif (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
                local = socket.inet_ntop(socket.AF_INET6, data[:16])
                back = [(level, kind, data)]
        with suppress(OSError):  # no way back is what the asker finds out
            listening.sendmsg([reply(request, name, peer, local)], back, 0, peer)


# --- ask ---


def ask(targets: list[Record], seconds: float) -> list[Record]:
    """What became of each target; all are asked at the same time."""
    results: list[Record] = [{} for _ in targets]

    def one(index: int) -> None:
        target = targets[index]
        try:
            verb = {"tcp": ask_tcp, "udp": ask_udp, "icmp": ask_icmp}[target["protocol"]]
            answer = verb(target["address"], target["port"], time.monotonic() + seconds)
            results[index] = {"outcome": "answered", **answer}
        except ConnectionRefusedError:
            results[index] = {"outcome": "refused"}
        except (TimeoutError, ConnectionResetError):
            results[index] = {"outcome": "silent"}
        except OSError as error:
            if error.errno not in NO_WAY:
                results[index] = {"error": f"{type(error).__name__}: {error}"}
            else:
                results[index] = {"outcome": "unreachable"}

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(targets))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def checked(line: bytes, token: str) -> Record | None:
    """A server's answer, if it is to our question."""
    try:
        answer = json.loads(line)
    except ValueError:
        return None
    return answer if isinstance(answer, dict) and answer.pop("token", None) == token else None


def left(end: float) -> float:
    """Seconds until then; TimeoutError when there are none."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def ask_tcp(address: str, port: int, end: float) -> Record:
    """One connection, one question."""
    token = os.urandom(8).hex()
    with socket.socket(family_of(address), socket.SOCK_STREAM) as tcp:
        tcp.settimeout(left(end))
        tcp.connect((address, port))
        tcp.sendall(f"?{token}\n".encode())
        line = b""
        while not line.endswith(b"\n"):
            tcp.settimeout(left(end))
            piece = tcp.recv(4096)
            if not piece:
                raise ConnectionResetError
            line += piece
    answer = checked(line, token)
    if answer is None:
        raise OSError(f"{address} port {port} is no server of ours: {line!r}")
    return answer


def ask_udp(address: str, port: int, end: float) -> Record:
    """The same question until it is answered."""
    token = os.urandom(8).hex()
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as udp:
        udp.connect((address, port))
        while True:
            udp.send(f"?{token}".encode())
            udp.settimeout(min(left(end), RESEND_SECONDS))
            try:
                answer = checked(udp.recv(4096), token)
            except TimeoutError:
                continue
            if answer is not None:
                return answer


def ask_icmp(address: str, port: int, end: float) -> Record:
    """Echo requests until one is answered; `port` has no meaning."""
    family = family_of(address)
    six = family == socket.AF_INET6
    wanted = ICMPV6_ECHO_REPLY if six else ICMP_ECHO_REPLY
    protocol = socket.getprotobyname("ipv6-icmp") if six else socket.IPPROTO_ICMP
    token = os.urandom(16)
    head = struct.pack("!BBHHH", ICMPV6_ECHO if six else ICMP_ECHO, 0, 0, 0, 1)
    total = sum(struct.unpack("!12H", head + token))
    total = (total >> 16) + (total & 0xFFFF)
    checksum = ~(total + (total >> 16)) & 0xFFFF  # of IPv6 the kernel makes it, with the addresses
    packet = head[:2] + struct.pack("!H", checksum) + head[4:] + token
    with socket.socket(family, socket.SOCK_RAW, protocol) as raw:
        raw.connect((address, 0))
        while True:
            raw.send(packet)
            again = time.monotonic() + RESEND_SECONDS
            while (now := time.monotonic()) < again:
                raw.settimeout(min(left(end), again - now))
                try:
                    answer = raw.recv(4096)
                except TimeoutError:
                    break
                if not six:
                    answer = answer[(answer[0] & 15) * 4 :]
                if answer[0] == wanted and answer[8:] == token:
                    return {}


# --- stream ---


class Flow:
    """Times of one stream's messages, in seconds."""

    def __init__(self) -> None:
        self.sent: list[float] = []
        self.received: list[float] = []
        self.error = ""

    def report(self, begin: float, end: float) -> Record:
        """Counts, and the longest times in milliseconds in which nothing was sent or came back."""
        return {
            "sent": len(self.sent),
            "received": len(self.received),
            "longest_gap": longest(begin, self.received, end),
            "longest_pause": longest(begin, self.sent, end),
            "error": self.error,
        }


def longest(begin: float, times: list[float], end: float) -> float:
    """The longest time between two of them, in milliseconds."""
    marks = [begin, *times, end]
    return 1000 * max(b - a for a, b in pairwise(marks))


def stream(address: str, port: int) -> None:
    """Keep both flows going until standard input ends."""
    stop = threading.Event()
    flows = {"udp": Flow(), "tcp": Flow()}
    udp = socket.socket(family_of(address), socket.SOCK_DGRAM)
    udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER)
    udp.connect((address, port))
    tcp = socket.create_connection((address, port), timeout=5)
    tcp.settimeout(None)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threads = [
        threading.Thread(target=send, args=(udp, flows["udp"], stop, 0.001)),
        threading.Thread(target=send, args=(tcp, flows["tcp"], stop, 0.01)),
    ]
    readers = [
        threading.Thread(target=receive, args=(udp, flows["udp"]), daemon=True),
        threading.Thread(target=receive_lines, args=(tcp, flows["tcp"]), daemon=True),
    ]
    begin = time.monotonic()
    for thread in readers + threads:
        thread.start()
    while not (flows["udp"].received and flows["tcp"].received):
        if time.monotonic() > begin + 5:
            raise TimeoutError(f"no stream to {address} port {port}: nothing came back in 5 s")
        time.sleep(0.001)
    print("ready", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()
    end = time.monotonic()
    for name, patience in (("udp", 0.2), ("tcp", 2.0)):  # the latter comes back if it can
        flow = flows[name]
        while len(flow.received) < len(flow.sent) and not flow.error:
            if time.monotonic() > end + patience:
                break
            time.sleep(0.001)
    end = max([end] + [flow.received[-1] for flow in flows.values()])
    print(json.dumps({name: flow.report(begin, end) for name, flow in flows.items()}), flush=True)


def send(out: socket.socket, flow: Flow, stop: threading.Event, period: float) -> None:
    """Send a line every `period` seconds, as far as the machine lets us; no catching up."""
    while not stop.is_set() and not flow.error:
        flow.sent.append(time.monotonic())
        try:
            out.send(b"stream\n")
        except ConnectionRefusedError:
            pass  # UDP: an answer to an earlier datagram, which counts as lost
        except OSError as error:
            flow.error = str(error)
        time.sleep(period)


def receive(back: socket.socket, flow: Flow) -> None:
    """Note when each datagram comes back."""
    while True:
        try:
            back.recv(2048)
        except ConnectionRefusedError:
            continue
        flow.received.append(time.monotonic())


def receive_lines(back: socket.socket, flow: Flow) -> None:
    """Note when each line comes back."""
    try:
        while piece := back.recv(4096):
            flow.received += [time.monotonic()] * piece.count(b"\n")
        flow.error = flow.error or "the server closed the connection"
    except OSError as error:
        flow.error = flow.error or str(error)


def main() -> None:
    """Do what the arguments say."""
    verb, *arguments = sys.argv[1:]
    if verb == "serve":
        serve(arguments[0], [int(port) for port in arguments[1:]])
    elif verb == "ask":
        print(json.dumps(ask(json.load(sys.stdin), float(arguments[0]))))
    else:
        stream(arguments[0], int(arguments[1]))


if __name__ == "__main__":
    main()

"""Sends ready requests over raw sockets; costs a few microseconds of processor time a request."""

import selectors
import socket
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass


def request(path: str, token: str, port: int, body: bytes) -> bytes:
    """A whole HTTP request."""
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode() + body


@dataclass
class Sent:
    """What sending came to.

    Attributes:
        seconds: from the first byte to the last answer.
        client: processor seconds of the sender.
        waits: seconds from request to answer, in order of answer.
    """

    seconds: float
    client: float
    waits: list[float]


def _complete(answer: bytes) -> bool:
    """Whether a whole answer is there; servers may send its head and its body apart."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]
    return len(body) >= int(length)


def send(port: int, requests: Sequence[bytes], connections: int, host: str = "127.0.0.1") -> Sent:
    """Send large requests, each connection with a thread of its own.

    Request i goes over connection i modulo `connections`, so rows of one connection keep their
    order.
    """
    waits: list[float] = []
    faults: list[str] = []
    sockets = [_connect(port, host) for _ in range(connections)]

    def work(number: int) -> None:
        connection = sockets[number]
        for place in range(number, len(requests), connections):
            began = time.perf_counter()
            connection.sendall(requests[place])
            answer = connection.recv(65_536)
            while not _complete(answer):
                answer += connection.recv(65_536)
            waits.append(time.perf_counter() - began)
            if answer[9:10] != b"2":
                faults.append(answer.decode(errors="replace"))
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(connections)]
    began, spent = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, client = time.perf_counter() - began, time.process_time() - spent
    for connection in sockets:
        connection.close()
    if faults:
        raise RuntimeError(f"a request was refused: {faults[0][:500]}")
    return Sent(seconds, client, waits)


def send_many(port: int, requests: Sequence[bytes], connections: int) -> Sent:
    """Send small requests over many connections from one thread."""
    selector = selectors.EpollSelector()
    waits: list[float] = []
    waiting = iter(requests)
    began_at: dict[int, float] = {}
    received: dict[int, bytes] = {}
    sockets = [_connect(port) for _ in range(connections)]
    for connection in sockets:
        selector.register(connection, selectors.EVENT_READ)
    spent, began = time.process_time(), time.perf_counter()
    under_way = 0
    for connection in sockets:
        following = next(waiting, None)
        if following is not None:
            began_at[connection.fileno()] = time.perf_counter()
            connection.sendall(following)
            under_way += 1
    while under_way:
        for key, _ in selector.select():
            connection = key.fileobj  # type: ignore[assignment]  # what was registered
            answer = received.pop(key.fd, b"") + connection.recv(65_536)
            if not _complete(answer):
                received[key.fd] = answer
                continue
            now = time.perf_counter()
            waits.append(now - began_at[key.fd])
            if answer[9:10] != b"2":
                raise RuntimeError(f"a request was refused: {answer[:500]!r}")
            following = next(waiting, None)
            if following is None:
                under_way -= 1
                selector.unregister(connection)
            else:
                began_at[key.fd] = now
                connection.sendall(following)
    seconds, client = time.perf_counter() - began, time.process_time() - spent
    for connection in sockets:
        connection.close()
    return Sent(seconds, client, waits)


def _connect(port: int, host: str = "127.0.0.1") -> socket.socket:
    connection = socket.create_connection((host, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection

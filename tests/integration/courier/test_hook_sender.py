"""Deliveries over real sockets: what is sent, what counts as an answer, and who is not called."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from tests.servers.certificates import make_certificate
from tests.servers.receiver import Handler, Receiver, answer_with, receiving
from tests.servers.treadle import eventually
from tests.unit.courier.test_decisions import due

from treadle.courier.decisions import TryResult
from treadle.courier.hook_sender import ANSWER_BYTES_KEPT, HookSender, find_addresses
from treadle.http.address_policy import AddressPolicy
from treadle.http.outbound_url import OutboundRules
from treadle.store.model import DueDelivery

ANY = OutboundRules.from_setting("any")
BODY = '{"version":"1.0"}'


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as listening:
        yield listening


def delivery(url: str, **changes: object) -> DueDelivery:
    return replace(due(1), url=url, body=BODY, **changes)  # type: ignore[arg-type]  # its fields


def send(
    one: DueDelivery,
    rules: OutboundRules = ANY,
    *,
    try_seconds: float = 30.0,
    find: Callable[[str, int], Sequence[str]] = find_addresses,
    context: ssl.SSLContext | None = None,
) -> TryResult:
    sender = HookSender(
        rules, lambda: 1_700_000_000_000_000, find_addresses=find, try_seconds=try_seconds
    )
    if context is not None:
        sender.make_context = lambda: context
    return asyncio.run(sender.send(one))


def test_a_delivery_is_a_post_with_the_documented_headers_alone(receiver: Receiver) -> None:
    result = send(delivery(receiver.url))
    assert (result.status, result.answer, result.error) == (200, "ok", None)
    [seen] = receiver.seen
    assert seen.path == "/hook?token=x"
    assert seen.raw == BODY.encode()
    assert seen.headers == {
        "Host": f"127.0.0.1:{receiver.port}",
        "Content-Type": "application/json",
        "User-Agent": "StitchLoadingWebhook",
        "Connection": "close",
        "Content-Length": str(len(BODY)),
    }


def test_with_a_secret_it_is_signed_and_has_its_id(receiver: Receiver) -> None:
    send(delivery(receiver.url, secret="a secret of a hook"))
    [seen] = receiver.seen
    assert seen.key == "delivery 1"
    assert seen.headers["Treadle-Signature"].startswith("t=1700000000,v1=")


def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Receiver) -> None:
    receiver.answers = [answer_with(302, Location=receiver.url)]
    assert send(delivery(receiver.url)).status == 302
    assert len(receiver.seen) == 1


def test_of_a_large_answer_the_beginning_is_read_and_less_is_kept(receiver: Receiver) -> None:
    receiver.answers = [answer_with(200, b"x" * 10_000_000)]
    result = send(delivery(receiver.url))
    assert (result.status, result.answer) == (200, "x" * ANSWER_BYTES_KEPT)


def test_an_answer_that_is_no_text_is_kept_as_one(receiver: Receiver) -> None:
    receiver.answers = [answer_with(500, b"\xff\0<script>")]
    assert send(delivery(receiver.url)).answer == "\ufffd\0<script>"


def test_silence_ends_a_try(receiver: Receiver) -> None:
    receiver.answers = [receiver.stay_silent]
    began = time.monotonic()
    result = send(delivery(receiver.url), try_seconds=0.3)
    assert (result.status, result.error) == (None, "it did not answer within 0 s")
    assert time.monotonic() - began < 50  # it would be silent for a minute


class MovedLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock is moved by a test."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead

    def pass_by(self, seconds: float) -> None:
        """Let time pass at once; from another thread."""

        def move() -> None:
            self.ahead += seconds

        self.call_soon_threadsafe(move)


@pytest.mark.parametrize(("after", "is_taken"), [(29.0, True), (31.0, False)])
def test_an_answer_counts_for_thirty_seconds(
    receiver: Receiver, after: float, is_taken: bool
) -> None:
    """connect-rest.md A.5, A9: a receiver that answers after 29 s, and after 31 s."""

    def answer_late(handler: Handler) -> None:
        receiver.released.wait(60)
        answer_with(200)(handler)

    receiver.answers = [answer_late]
    sender = HookSender(ANY, lambda: 1_700_000_000_000_000)
    with asyncio.Runner(loop_factory=MovedLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, MovedLoop)

        def watch() -> None:
            eventually(lambda: len(receiver.seen) == 1)
            loop.pass_by(after)
            if is_taken:
                receiver.released.set()

        watching = threading.Thread(target=watch)
        watching.start()
        result = runner.run(sender.send(delivery(receiver.url)))
        watching.join()
    expected = (200, None) if is_taken else (None, "it did not answer within 30 s")
    assert (result.status, result.error) == expected


@pytest.mark.release
def test_an_answer_counts_for_thirty_real_seconds() -> None:
    def answer_after(receiver: Receiver, seconds: float) -> Callable[[Handler], None]:
        def answer(handler: Handler) -> None:
            receiver.released.wait(seconds)
            with contextlib.suppress(OSError):
                answer_with(200)(handler)

        return answer

    def send_one(seconds: float) -> TryResult:
        with receiving() as its:
            its.usual = answer_after(its, seconds)
            return send(delivery(its.url))

    with ThreadPoolExecutor(2) as threads:
        soon, late = threads.map(send_one, (29.0, 31.0))
    assert (soon.status, soon.error) == (200, None)
    assert (late.status, late.error) == (None, "it did not answer within 30 s")


def test_an_answer_by_drops_does_not_make_a_try_longer(receiver: Receiver) -> None:
    def drip(handler: Handler) -> None:
        with contextlib.suppress(OSError):
            while not receiver.released.wait(0.05):
                handler.wfile.write(b"H")
                handler.wfile.flush()

    receiver.answers = [drip]
    assert send(delivery(receiver.url), try_seconds=0.4).status is None


def test_a_status_counts_although_its_body_never_ends(receiver: Receiver) -> None:
    def hang(handler: Handler) -> None:
        handler.send_response(202)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"begun")
        handler.wfile.flush()
        receiver.released.wait(60)

    receiver.answers = [hang]
    result = send(delivery(receiver.url), try_seconds=3.0)  # in which the status comes
    assert (result.status, result.answer, result.error) == (202, "begun", None)


def test_nobody_there_is_an_error_that_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        result = send(delivery(f"http://127.0.0.1:{unused.getsockname()[1]}/"))
    assert result.status is None
    assert str(result.error).startswith("the connection failed: ")


def test_a_receiver_that_hangs_up_is_an_error(receiver: Receiver) -> None:
    receiver.answers = [lambda handler: handler.connection.close()]
    result = send(delivery(receiver.url))
    assert (result.status, str(result.error)[:21]) == (None, "the connection failed")


def test_a_name_that_is_not_found_is_an_error() -> None:
    def fail(host: str, port: int) -> list[str]:
        raise socket.gaierror(-2, "Name or service not known")

    result = send(delivery("http://nowhere.example/"), find=fail)
    assert result.error == "the connection failed: the name nowhere.example is not found"


def test_a_look_up_that_hangs_ends_with_the_try() -> None:
    release = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        release.wait(60)
        return ["127.0.0.1"]

    result = send(delivery("http://slow.example/"), try_seconds=0.2, find=hang)
    release.set()
    assert (result.status, result.error) == (None, "it did not answer within 0 s")


# A11: who is not called --------------------------------------------------------------------------


def test_a_name_that_leads_to_the_metadata_service_is_not_called() -> None:
    result = send(delivery("http://inside.example/"), find=lambda *_: ["169.254.169.254"])
    assert result.error is not None
    assert "the server does not connect to 169.254.169.254" in result.error


def test_a_name_that_leads_to_this_machine_is_not_called(receiver: Receiver) -> None:
    rules = OutboundRules(allows_http=True, policy=AddressPolicy(allows_loopback=False))
    result = send(
        delivery(f"http://here.example:{receiver.port}/"), rules, find=lambda *_: ["127.0.0.1"]
    )
    assert "own machine" in str(result.error)
    assert receiver.seen == []


def test_of_several_addresses_the_allowed_ones_are_called(receiver: Receiver) -> None:
    found = ["169.254.169.254", "127.0.0.1"]
    result = send(delivery(f"http://two.example:{receiver.port}/"), find=lambda *_: found)
    assert result.status == 200
    assert receiver.seen[0].headers["Host"] == f"two.example:{receiver.port}"


def test_a_name_is_looked_up_once_so_it_cannot_change_behind_the_check(receiver: Receiver) -> None:
    answers = iter([["127.0.0.1"]])  # a second look would be an error
    looks: list[str] = []

    def find(host: str, port: int) -> list[str]:
        looks.append(host)
        return next(answers)

    assert send(delivery(f"http://shifty.example:{receiver.port}/"), find=find).status == 200
    assert looks == ["shifty.example"]


def test_a_url_that_is_not_allowed_any_more_is_not_called(receiver: Receiver) -> None:
    result = send(delivery(receiver.url), OutboundRules.from_setting("https"))
    assert result.error == "the URL has to begin with https://"
    assert receiver.seen == []


def test_no_proxy_of_the_environment_is_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert send(delivery(receiver.url)).status == 200


# TLS ---------------------------------------------------------------------------------------------


@pytest.fixture
def tls_receiver(tmp_path: Path) -> Iterator[tuple[Receiver, ssl.SSLContext]]:
    """A receiver at hooks.example, and the context that trusts it."""
    files = make_certificate(tmp_path, hosts=("hooks.example",))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(files.cert, files.key)
    with receiving(serving) as listening:
        yield listening, ssl.create_default_context(cafile=str(files.cert))


def test_the_certificate_is_judged_by_the_name_and_the_connection_goes_to_the_address(
    tls_receiver: tuple[Receiver, ssl.SSLContext],
) -> None:
    receiver, trusting = tls_receiver
    url = f"https://hooks.example:{receiver.port}/x"
    result = send(delivery(url), find=lambda *_: ["127.0.0.1"], context=trusting)
    assert (result.status, result.error) == (200, None)
    assert receiver.seen[0].headers["Host"] == f"hooks.example:{receiver.port}"


@pytest.mark.parametrize("host", ["other.example", "127.0.0.1"])
def test_a_certificate_of_another_name_is_refused(
    tls_receiver: tuple[Receiver, ssl.SSLContext], host: str
) -> None:
    receiver, trusting = tls_receiver
    url = f"https://{host}:{receiver.port}/x"
    result = send(delivery(url), find=lambda *_: ["127.0.0.1"], context=trusting)
    assert result.status is None
    assert "certificate" in str(result.error).lower()
    assert receiver.seen == []


def test_a_certificate_that_nobody_vouches_for_is_refused(
    tls_receiver: tuple[Receiver, ssl.SSLContext],
) -> None:
    receiver, _ = tls_receiver
    url = f"https://hooks.example:{receiver.port}/x"
    assert send(delivery(url), find=lambda *_: ["127.0.0.1"]).status is None
    assert receiver.seen == []

"""A mail server of SMTP (RFC 5321) in a thread, which keeps what it took."""

import asyncio
import base64
import ssl
import threading
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from types import TracebackType
from typing import Self


@dataclass(frozen=True)
class TakenMail:
    """A mail that the server took.

    Attributes:
        encrypted: it came over TLS.
        user: who was logged in; None for nobody.
    """

    sender: str
    recipients: tuple[str, ...]
    message: EmailMessage
    raw: bytes
    encrypted: bool
    user: str | None

    @property
    def subject(self) -> str:
        return str(self.message["Subject"])

    @property
    def text(self) -> str:
        content = self.message.get_content()
        assert isinstance(content, str)
        return content.replace("\r\n", "\n")


@dataclass
class MailServer:
    """Listens at a free port of 127.0.0.1; `stop` and `start` keep the port.

    Attributes:
        context: for TLS; None without.
        tls_first: TLS from the beginning, in place of STARTTLS.
        login: user and password that are needed; None for none.
        refusals: address of a recipient -> the answer to it, such as "550 no such user".
        answer_to_data: the answer to a mail, in place of 250.
        taken: the mails, oldest first.
    """

    context: ssl.SSLContext | None = None
    tls_first: bool = False
    login: tuple[str, str] | None = None
    refusals: dict[str, str] = field(default_factory=dict)
    answer_to_data: str = "250 taken"
    taken: list[TakenMail] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    _loop: asyncio.AbstractEventLoop | None = None
    _thread: threading.Thread | None = None
    _server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        found: TracebackType | None,
    ) -> None:
        self.stop()
        assert self._loop is not None
        assert self._thread is not None
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def start(self) -> None:
        """Begin to listen."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        """Listen no more: connections are refused."""
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve,
            "127.0.0.1",
            self.port,
            ssl=self.context if self.tls_first else None,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await _Conversation(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()


class _Conversation:
    def __init__(
        self, server: MailServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server = server
        self.reader = reader
        self.writer = writer
        self.encrypted = server.tls_first
        self.user: str | None = None
        self.sender: str | None = None
        self.recipients: list[str] = []

    async def say(self, *lines: str) -> None:
        for line in lines:
            self.writer.write(line.encode() + b"\r\n")
        await self.writer.drain()

    async def read_line(self) -> str:
        line = await self.reader.readuntil(b"\r\n")
        return line[:-2].decode("utf-8")

    async def run(self) -> None:
        await self.say("220 mail.test ESMTP")
        while True:
            line = await self.read_line()
            verb, _, rest = line.partition(" ")
            match verb.upper():
                case "EHLO" | "HELO":
                    await self.say(*self.list_extensions())
                case "STARTTLS" if self.may_encrypt():
                    await self.say("220 go ahead")
                    assert self.server.context is not None
                    await self.writer.start_tls(self.server.context)
                    self.encrypted = True
                case "AUTH" if self.server.login is not None:
                    await self.authenticate(rest)
                case "MAIL" if self.server.login is not None and self.user is None:
                    await self.say("530 log in first")
                case "MAIL":
                    self.sender, self.recipients = _read_address(rest), []
                    await self.say("250 ok")
                case "RCPT" if self.sender is not None:
                    address = _read_address(rest)
                    answer = self.server.refusals.get(address, "250 ok")
                    if answer.startswith("250"):
                        self.recipients.append(address)
                    await self.say(answer)
                case "DATA" if self.recipients:
                    await self.say("354 end with a dot")
                    await self.take(await self.reader.readuntil(b"\r\n.\r\n"))
                case "RSET":
                    self.sender, self.recipients = None, []
                    await self.say("250 ok")
                case "NOOP":
                    await self.say("250 ok")
                case "QUIT":
                    await self.say("221 bye")
                    return
                case _:
                    await self.say("503 not now")

    def may_encrypt(self) -> bool:
        return self.server.context is not None and not self.encrypted

    def list_extensions(self) -> list[str]:
        names = ["mail.test", "8BITMIME"]
        if self.may_encrypt():
            names.append("STARTTLS")
        if self.server.login is not None:
            names.append("AUTH PLAIN")
        return [*(f"250-{name}" for name in names[:-1]), f"250 {names[-1]}"]

    async def authenticate(self, asked: str) -> None:
        _, _, initial = asked.partition(" ")
        if not initial:
            await self.say("334 ")
            initial = await self.read_line()
        _, user, password = base64.b64decode(initial).decode().split("\0")
        if (user, password) != self.server.login:
            await self.say(f"535 5.7.8 wrong password {password}")
            return
        self.user = user
        await self.say("235 welcome")

    async def take(self, data: bytes) -> None:
        raw = data[: -len(b".\r\n")].replace(b"\r\n..", b"\r\n.")
        if self.server.answer_to_data.startswith("250"):
            message = message_from_bytes(raw, policy=default)
            assert isinstance(message, EmailMessage)
            assert self.sender is not None
            self.server.taken.append(
                TakenMail(
                    self.sender,
                    tuple(self.recipients),
                    message,
                    raw,
                    self.encrypted,
                    self.user,
                )
            )
        self.sender, self.recipients = None, []
        await self.say(self.server.answer_to_data)


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _read_address(rest: str) -> str:
    """`FROM:<a@b.c> SIZE=5` -> `a@b.c`."""
    return rest.partition("<")[2].partition(">")[0]

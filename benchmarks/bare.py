"""A bare ASGI endpoint: reads, parses, answers. What acceptance is compared with."""

import sys

import msgspec
import uvicorn

_decode = msgspec.json.Decoder().decode
_HEADERS = [(b"content-length", b"2"), (b"content-type", b"application/json")]


async def app(scope, receive, send):  # type: ignore[no-untyped-def]  # as small as can be
    if scope["type"] != "http":
        return
    message = await receive()
    parts = [message["body"]]
    while message.get("more_body"):
        message = await receive()
        parts.append(message["body"])
    _decode(b"".join(parts))
    await send({"type": "http.response.start", "status": 201, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b"{}"})


if __name__ == "__main__":
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )

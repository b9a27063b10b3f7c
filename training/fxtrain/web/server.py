"""Serving a page on this machine: loopback by default, nothing from elsewhere, headers that say so.

Starlette and uvicorn are loaded here, so import this module inside the command that serves.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fxtrain.contract import FxError, MissingExtraError, UsageError, to_install

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute, Mount
    from starlette.staticfiles import StaticFiles
except ImportError as missing:
    raise MissingExtraError(
        f"a page needs {missing.name}, which is not installed: {to_install('web')}"
    ) from None

LOOPBACK = "127.0.0.1"
SHARED = Path(str(files("fxtrain.web"))) / "static"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

LAST_S = 5
"""After Ctrl-C answers under way have this long; an upload that stands still has no end."""

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class SafeHeaders:
    """ASGI middleware: ``HEADERS`` on every answer that has none of that name."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (name.lower().encode(), value.encode())
                        for name, value in HEADERS.items()
                        if name.lower().encode() not in there
                    ),
                ]
            await send(message)

        await self.app(scope, receive, with_headers)


async def gone(request: Request, error: Exception) -> Response:
    """A browser that went away in the middle of an upload: nobody is there to be told."""
    return Response(status_code=400)


def make_app(
    routes: Sequence[BaseRoute], page: Path, hosts: Sequence[str] = (), lifespan: Any = None
) -> Starlette:
    """An app whose ``/page`` is the folder ``page`` and whose ``/shared`` is what pages share.

    It answers to the names of this machine's loopback and to ``hosts``, so that no foreign page
    can reach it by a name of its own. ``lifespan``: what is to run beside it, as Starlette has it.
    """
    return Starlette(
        lifespan=lifespan,
        exception_handlers={ClientDisconnect: gone},
        routes=[
            *routes,
            Mount("/page", StaticFiles(directory=page)),
            Mount("/shared", StaticFiles(directory=SHARED)),
        ],
        middleware=[
            Middleware(SafeHeaders),
            Middleware(
                TrustedHostMiddleware,
                allowed_hosts=["localhost", LOOPBACK, "[::1]", *hosts],
                www_redirect=False,
            ),
        ],
    )


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hosts_of(host: str) -> tuple[str, ...]:
    """What a page bound to ``host`` is called, besides loopback's names: the host as it was given
    and its address, or any name at all where it listens on every address."""
    try:
        _, address = _resolved(host, 0)
    except (socket.gaierror, UnicodeError):
        return ()  # bind says so
    if ipaddress.ip_address(address.partition("%")[0]).is_unspecified:
        return ("*",)
    return tuple(dict.fromkeys(_in_url(name) for name in (host, address)))


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, str]:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    return family, str(address[0])


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def bind(host: str, port: int) -> socket.socket:
    """A socket that takes connections from now on; port 0 takes a free one."""
    listener = None
    try:
        family, _ = _resolved(host, port)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(128)
    except (socket.gaierror, UnicodeError):  # the latter: no name could be like that
        raise UsageError(f"--host {host}: no such host; 127.0.0.1 is this machine alone") from None
    except OSError as error:
        if listener:
            listener.close()
        if error.errno == errno.EADDRINUSE:
            raise FxError(
                f"port {port} on {host} is taken; give another with --port, or --port 0 for a free "
                "one"
            ) from None
        raise FxError(f"cannot listen on {host}, port {port}: {error.strerror or error}") from None
    return listener


class Server(uvicorn.Server):
    def handle_exit(self, sig: int, frame: Any) -> None:
        """What is cut off at the end is no error to tell of."""
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL + 1)
        super().handle_exit(sig, frame)


def run_app(app: Starlette, listener: socket.socket) -> None:
    """Serve until Ctrl-C, then let answers under way finish, for a few seconds."""
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, http="h11", ws="none",
        timeout_graceful_shutdown=LAST_S,
    )  # fmt: skip
    with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again when all is closed
        Server(config).run(sockets=[listener])


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{_in_url(host)}:{port}/"

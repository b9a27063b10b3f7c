"""The page's routes. Starlette comes through ``fxtrain.web.server``, which says what to install."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from fxtrain.app.ears import PHRASES, Clip, Dry, Ears, Sound
from fxtrain.app.limits import (
    MAX_JSON_BYTES,
    Limits,
    Shelf,
    title_of,
    too_much,
)
from fxtrain.app.work import Work
from fxtrain.contract import ContractError, UsageError, to_dict
from fxtrain.export.board import BASES, Board
from fxtrain.web.requests import RefusedError, body, json_object
from fxtrain.web.server import HEADERS, make_app

# Loaded by the module above.
from starlette.applications import Starlette  # isort: skip
from starlette.middleware import Middleware  # isort: skip
from starlette.requests import Request  # isort: skip
from starlette.responses import HTMLResponse, JSONResponse, Response  # isort: skip
from starlette.routing import Route  # isort: skip

STATIC = Path(str(files("fxtrain.app"))) / "static"
NONCE = "{{nonce}}"
"""In index.html: the word by which the page's own style sheets are known (wavesurfer makes one)."""

LOAD_AFTER_S = 1.0
"""Where nobody has looked at the page by then, the model is loaded all the same. A page asks for it
when it has all its scripts, which reading the model would hold up."""

Answer = Callable[[Request], Awaitable[Response]]


class Page:
    """The handlers, and what they remember."""

    def __init__(self, work: Work, limits: Limits) -> None:
        self.work, self.limits = work, limits
        self.clips: Shelf[Clip] = Shelf(limits.n_clips, "clip")
        self.dries: Shelf[Dry] = Shelf(limits.n_dries, "recording")
        self.sounds: Shelf[Sound] = Shelf(limits.n_sounds, "sound")
        self.n_uploads = 0
        self.html = (STATIC / "index.html").read_text(encoding="utf-8")

    async def index(self, request: Request) -> Response:
        nonce = secrets.token_urlsafe(16)
        policy = f"{HEADERS['Content-Security-Policy']}; style-src 'self' 'nonce-{nonce}'"
        page = self.html.replace(NONCE, nonce)
        return HTMLResponse(page, headers={"Content-Security-Policy": policy})

    async def start(self, request: Request) -> Response:
        """What the page needs to know before the first clip; comes when the model is there."""
        pedals = await self.do(Ears.pedals)
        limits = {"n_bytes": self.limits.n_bytes, "seconds": self.limits.seconds}
        return JSONResponse({"pedals": pedals, "phrases": list(PHRASES), "limits": limits})

    async def clip(self, request: Request) -> Response:
        data, name = await self.upload(request), request.query_params.get("name", "")
        clip = await self.do(lambda ears: ears.hear(data, name, self.limits.seconds))
        return JSONResponse(self.shown(clip))

    async def example(self, request: Request) -> Response:
        return JSONResponse(self.shown(await self.do(Ears.example)))

    async def dry(self, request: Request) -> Response:
        data, name = await self.upload(request), request.query_params.get("name", "")
        dry = await self.do(lambda ears: ears.read(data, self.limits.seconds))
        return JSONResponse({"id": self.dries.put(dry), "title": title_of(name)})

    async def render(self, request: Request) -> Response:
        asked = await self.json(request)
        clip, chosen = self.clips.get(asked.get("clip")), asked.get("dry")
        built_in = isinstance(chosen, str) and chosen in PHRASES
        own = None if built_in else self.dries.get(chosen)

        def turn(ears: Ears) -> tuple[Board, Sound]:
            board = ears.edited(clip, asked.get("pedals"))
            return board, ears.render(own or ears.phrase(str(chosen)), board)

        board, sound = await self.do(turn, instead_of=f"render {asked['clip']}")
        return JSONResponse({"board": board_json(board), "sound": self.sound_json(sound)})

    async def export(self, request: Request) -> Response:
        asked = await self.json(request)
        clip, name = self.clips.get(asked.get("clip")), request.path_params["format"]

        def turn(ears: Ears) -> tuple[str, bytes, tuple[str, ...]]:
            return ears.export(ears.edited(clip, asked.get("pedals")), name)

        file, data, notes = await self.do(turn)
        headers = {
            "Content-Disposition": f'attachment; filename="{file}"',
            "X-Notes": json.dumps(notes),
        }
        return Response(data, media_type="application/octet-stream", headers=headers)

    async def sound(self, request: Request) -> Response:
        sound = self.sounds.get(request.path_params["name"])
        return Response(sound.flac, media_type="audio/flac")

    async def do(self, task: Callable[[Ears], Any], instead_of: str | None = None) -> Any:
        return await self.work.do(task, self.limits.n_waiting, instead_of)

    def shown(self, clip: Clip) -> dict[str, Any]:
        return {
            "id": self.clips.put(clip),
            "rate_hz": clip.rate_hz,
            "board": board_json(clip.board),
            "turned": {
                pedal.name: {"settings": pedal.settings, "unheard": pedal.unheard}
                for pedal in clip.turned
            },
            "kin": clip.kin,
            "perhaps": clip.perhaps,
            "truth": clip.truth,
            "sound": self.sound_json(clip.sound),
        }

    def sound_json(self, sound: Sound) -> dict[str, Any]:
        url = f"/sound/{self.sounds.put(sound)}"
        return {"url": url, "lufs": sound.lufs, "seconds": sound.seconds}

    async def upload(self, request: Request) -> bytes:
        if self.n_uploads >= self.limits.n_waiting:
            raise too_much()
        self.n_uploads += 1
        try:
            return await body(request, self.limits.n_bytes)
        finally:
            self.n_uploads -= 1

    async def json(self, request: Request) -> dict[str, Any]:
        return await json_object(request, MAX_JSON_BYTES)


def board_json(board: Board) -> dict[str, Any]:
    data: dict[str, Any] = to_dict(board)
    return data | {
        "sentence": board.sentence,
        "basis": BASES[board.settings],
        "remarks": board.remarks,
        "swaps": board.swaps,
    }


def refuse(request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedError) else 422
    return JSONResponse({"error": str(error)}, status)


class SameOrigin:
    """ASGI middleware: a page from elsewhere may not post here, whatever it calls this machine."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            headers = {name.lower(): value for name, value in scope["headers"]}
            origin, host = headers.get(b"origin"), headers.get(b"host", b"")
            if origin is not None and origin.split(b"://", 1)[-1] != host:
                answer = JSONResponse({"error": "This page is not from here."}, 403)
                await answer(scope, receive, send)
                return
        await self.app(scope, receive, send)


@asynccontextmanager
async def unasked(work: Work) -> AsyncIterator[None]:
    """Load the model soon, whether somebody looks at the page or not."""
    soon = asyncio.get_running_loop().call_later(LOAD_AFTER_S, work.begin)
    yield
    soon.cancel()


def page_app(work: Work, limits: Limits, hosts: Sequence[str] = ()) -> Starlette:
    page = Page(work, limits)
    gets: dict[str, Answer] = {
        "/": page.index,
        "/api/start": page.start,
        "/sound/{name}": page.sound,
    }
    posts: dict[str, Answer] = {
        "/api/clip": page.clip,
        "/api/example": page.example,
        "/api/dry": page.dry,
        "/api/render": page.render,
        "/api/export/{format}": page.export,
    }
    routes = [Route(path, answer) for path, answer in gets.items()]
    routes += [Route(path, answer, methods=["POST"]) for path, answer in posts.items()]
    app = make_app(routes, STATIC, hosts, lambda app: unasked(work))
    for kind in (RefusedError, ContractError, UsageError):
        app.add_exception_handler(kind, refuse)
    app.user_middleware.append(Middleware(SameOrigin))  # within those that put headers on
    return app

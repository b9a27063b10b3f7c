"""The test in a browser: a page, a cookie, one trial at a time, every answer kept at once.

What the page learns is a trial's number and its slots; which condition a slot is, and whether an
answer was right, stays here. Starlette comes through ``fxtrain.web.server``.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from fxtrain.installed import versions_of
from fxtrain.listen.session import is_right
from fxtrain.listen.store import Answered, Session, Store
from fxtrain.listen.study import ANSWERS_NAME, KINDS, QUESTION, REFERENCE, Study, read_study
from fxtrain.web.requests import RefusedError, json_object
from fxtrain.web.server import bind, hosts_of, is_loopback, make_app, run_app, url_of

# Loaded by the module above, which says what to install where it is missing.
from starlette.applications import Starlette  # isort: skip
from starlette.requests import Request  # isort: skip
from starlette.responses import FileResponse, JSONResponse, Response  # isort: skip
from starlette.routing import Route  # isort: skip

PAGE = Path(str(files("fxtrain.listen"))) / "page"
COOKIE_S = 30 * 24 * 3600
DEVICES = ("headphones", "loudspeakers")
MOST_BYTES = 16_384
MOST_MS = 24 * 3600 * 1000


def cookie_of(study: Study) -> str:
    """Browsers share cookies between ports of one machine: two studies must not share one."""
    return f"listener-{study.identity[:12]}"


def study_app(folder: Path, study: Study, store: Store, hosts: tuple[str, ...] = ()) -> Starlette:
    """The ASGI app of one study."""
    cookie = cookie_of(study)

    async def page(request: Request) -> Response:
        return FileResponse(PAGE / "index.html")

    async def state(request: Request) -> Response:
        return JSONResponse(_state(study, _session(request, store, cookie)))

    async def start(request: Request) -> Response:
        data = await _body(request)
        session = None if data.get("new") is True else _session(request, store, cookie)
        if session is not None:
            return JSONResponse(_state(study, session))
        if data.get("device") not in DEVICES:
            raise RefusedError(422, "Say how you listen: over headphones or loudspeakers.")
        word = store.begin(data["device"], versions_of("fxpipe").get("fxpipe", "(not installed)"))
        answer = JSONResponse(_state(study, store.find(word)))
        answer.set_cookie(cookie, word, max_age=COOKIE_S, httponly=True, samesite="strict")
        return answer

    async def keep(request: Request) -> Response:
        data = await _body(request)
        session = _session(request, store, cookie)
        if session is None:
            raise RefusedError(401, "This browser has no session here; load the page again.")
        asked = _asked(session, data.get("trial"))
        answer = check_answer(study, asked, data.get("answer"))
        plays = _plays(asked, data.get("plays"))
        rt_ms, rate = (_count(data.get(name)) for name in ("rt_ms", "context_rate_hz"))
        new = store.answer(session.number, asked.number, answer, plays, min(rt_ms, MOST_MS), rate)
        after = _state(study, store.find(request.cookies[cookie]))
        if new and asked.trial.part == "training" and study.kind == "abx":
            after["feedback"] = is_right(asked.trial, answer["choice"])
        return JSONResponse(after)

    async def sound(request: Request) -> Response:
        session = _session(request, store, cookie)
        if session is None:
            raise RefusedError(401, "no session")
        asked, slot = request.path_params["trial"], request.path_params["slot"]
        number = session.position
        if asked != str(number) or number >= len(session.trials):
            raise RefusedError(404, "not the trial that is open")
        trial = session.trials[number].trial
        if slot not in trial.slots:
            raise RefusedError(404, "no such sound")
        item = study.item(trial.part, trial.item)
        found = study.sounds[item.conditions[trial.slots[slot]]]
        return Response((folder / found.file.path).read_bytes(), media_type="audio/wav")

    async def volume(request: Request) -> Response:
        item = (study.training or study.items)[0]
        found = study.sounds[item.conditions[REFERENCE]]
        return Response((folder / found.file.path).read_bytes(), media_type="audio/wav")

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        return JSONResponse({"error": str(error)}, status_code=error.status)

    app = make_app(
        [
            Route("/", page),
            Route("/api/state", state),
            Route("/api/start", start, methods=["POST"]),
            Route("/api/answer", keep, methods=["POST"]),
            Route("/sound/volume", volume),
            Route("/sound/{trial}/{slot}", sound),
        ],
        PAGE,
        hosts,
    )
    app.add_exception_handler(RefusedError, refused)
    return app


def serve_study(path: Path, host: str, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C."""
    study = read_study(path)
    store = Store(path / ANSWERS_NAME, study)
    hosts = hosts_of(host)
    listener = bind(host, port)
    say(f"{study.kind} test {study.title!r}: {url_of(listener)}  (Ctrl-C ends it)")
    if not is_loopback(host):
        say("everyone who reaches this machine by network can take part")
    run_app(study_app(path, study, store, hosts), listener)
    done = [s for s in store.sessions() if s.position == len(s.trials)]
    sessions = "1 session" if len(done) == 1 else f"{len(done)} sessions"
    say(f"{sessions} finished; next: fxtrain listen analyse {shlex.quote(str(path))}")


def _session(request: Request, store: Store, cookie: str) -> Session | None:
    word = request.cookies.get(cookie)
    return None if not word else store.find(word)


def _state(study: Study, session: Session | None) -> dict[str, Any]:
    """All that the page may know."""
    known: dict[str, Any] = {
        "study": {
            "title": study.title,
            "kind": study.kind,
            "about": KINDS[study.kind],
            "question": QUESTION[study.kind],
            "sample_rate_hz": study.sample_rate_hz,
            "duration_s": study.duration_s,
        },
        "session": None,
        "trial": None,
    }
    if session is None:
        return known
    n = len(session.trials)
    known["session"] = {"done": session.position, "total": n}
    if session.position < n:
        trial = session.trials[session.position].trial
        known["trial"] = {
            "number": session.position,
            "training": trial.part == "training",
            "slots": list(trial.slots),
        }
    return known


async def _body(request: Request) -> dict[str, Any]:
    """A small JSON object; its type keeps forms of other pages out."""
    if request.headers.get("content-type", "").split(";")[0] != "application/json":
        raise RefusedError(415, "expected application/json")
    return await json_object(request, MOST_BYTES)


def _asked(session: Session, number: Any) -> Answered:
    """The open trial, or an earlier one whose answer came twice."""
    if isinstance(number, int) and 0 <= number <= session.position and number < len(session.trials):
        return session.trials[number]
    raise RefusedError(409, "That is not the trial that is open; load the page again.")


def check_answer(study: Study, asked: Answered, answer: Any) -> dict[str, Any]:
    """The answer alone, whole and in range, or RefusedError."""
    answer = answer if isinstance(answer, dict) else {}
    if study.kind == "mushra":
        ratings = answer.get("ratings")
        slots = asked.trial.to_rate
        if not isinstance(ratings, dict) or set(ratings) != set(slots):
            raise RefusedError(422, "Rate every sound before you go on.")
        for slot in slots:
            rating = ratings[slot]
            if not isinstance(rating, int) or isinstance(rating, bool) or not 0 <= rating <= 100:
                raise RefusedError(422, "Ratings go from 0 to 100.")
        return {"ratings": {slot: ratings[slot] for slot in slots}}
    if answer.get("choice") not in ("a", "b"):
        raise RefusedError(422, "Choose A or B before you go on.")
    return {"choice": answer["choice"]}


def _plays(asked: Answered, plays: Any) -> dict[str, int]:
    plays = plays if isinstance(plays, dict) else {}
    counted = {slot: _count(plays.get(slot)) for slot in asked.trial.slots}
    unheard = [slot for slot, n in counted.items() if n == 0]
    if unheard:
        names = ", ".join("the reference" if s == REFERENCE else s.upper() for s in unheard)
        raise RefusedError(422, f"Listen to {names} before you go on.")
    return counted


def _count(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value < 2**31 else 0

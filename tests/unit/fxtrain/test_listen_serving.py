"""The server of a test: what a page may know, what it may not, and what is kept."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from fixtures.errors import one_line
from fixtures.listeners import Ear, panel
from fixtures.studies import small_study
from fxtrain.contract import FxError, UsageError
from fxtrain.listen.analysis import abx, analyse_study, votes
from fxtrain.listen.serving import cookie_of, study_app
from fxtrain.listen.session import plan_session
from fxtrain.listen.store import Store, count_answers
from fxtrain.listen.study import ANSWERS_NAME, REFERENCE, Study
from fxtrain.listen.webmushra import export

import numpy as np  # isort: skip


@pytest.fixture(scope="module", params=["abx", "pairwise", "mushra"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, small_study(folder, request.param, n_items=2, trials=3, repeats=2, catches=1)


def client_of(folder: Path, study: Study, store: Store) -> TestClient:
    return TestClient(study_app(folder, study, store), base_url="http://127.0.0.1")


def answer_to(
    study: Study, state: dict[str, Any], ear: Ear, trial: Any, seed: int
) -> dict[str, Any]:
    return {
        "trial": state["trial"]["number"],
        "answer": ear.answer(study, trial, np.random.default_rng(seed)),
        "plays": dict.fromkeys(state["trial"]["slots"], 1),
        "rt_ms": 4000,
        "context_rate_hz": study.sample_rate_hz,
    }


def test_a_whole_session(made: Any, tmp_path: Path) -> None:
    folder, study = made
    store = Store(tmp_path / ANSWERS_NAME, study)
    client = client_of(folder, study, store)
    assert client.get("/").status_code == 200
    assert client.get("/api/state").json()["session"] is None
    assert client.get("/sound/0/a").status_code == 401
    assert client.post("/api/start", json={"device": "a horn"}).status_code == 422
    state = client.post("/api/start", json={"device": "headphones"}).json()
    planned = plan_session(study, 0)
    ear = Ear(threshold_db=0.5)
    for number, trial in enumerate(planned):
        known = json.dumps(state)
        for word in (*study.sounds, *(set(study.conditions) - {REFERENCE})):
            assert f'"{word}"' not in known
        assert state["session"] == {"done": number, "total": len(planned)}
        assert state["trial"]["training"] is (trial.part == "training")
        sizes = set()
        for slot in state["trial"]["slots"]:
            heard = client.get(f"/sound/{number}/{slot}")
            assert heard.headers["content-type"] == "audio/wav"
            assert heard.headers["cache-control"] == "no-store"
            sizes.add(len(heard.content))
        assert len(sizes) == 1
        for other in (number + 1, "x", "9" * 5000):  # the last: more digits than Python reads
            assert client.get(f"/sound/{other}/a").status_code == 404
        assert client.get(f"/sound/{number}/zz").status_code == 404
        data = answer_to(study, state, ear, trial, number)
        state = client.post("/api/answer", json=data).json()
        assert ("feedback" in state) is (trial.part == "training" and study.kind == "abx")
    assert state["trial"] is None
    assert client.post("/api/answer", json=data).json() == state  # sent again: the reply was lost
    later = client.post("/api/answer", json=data | {"trial": len(planned)})
    assert later.status_code == 409
    (session,) = store.sessions()
    assert [asked.trial for asked in session.trials] == planned
    assert session.position == len(planned)
    assert count_answers(store.path) == len(planned)


def test_answers_that_cannot_be_kept(made: Any, tmp_path: Path) -> None:
    folder, study = made
    client = client_of(folder, study, Store(tmp_path / ANSWERS_NAME, study))
    assert client.post("/api/answer", json={"trial": 0}).status_code == 401
    state = client.post("/api/start", json={"device": "loudspeakers"}).json()
    good = answer_to(study, state, Ear(), plan_session(study, 0)[0], 0)
    for change, status in (
        ({"trial": 1}, 409),
        ({"trial": -1}, 409),
        ({"trial": "0"}, 409),
        ({"answer": {}}, 422),
        ({"answer": {"choice": "c"}}, 422),
        ({"answer": {"ratings": {"1": 101}}}, 422),
        ({"answer": {"ratings": dict.fromkeys(state["trial"]["slots"][1:], True)}}, 422),
        ({"plays": {}}, 422),
        ({"plays": dict.fromkeys(good["plays"], -1)}, 422),
    ):
        found = client.post("/api/answer", json=good | change)
        assert found.status_code == status, change
        assert found.json()["error"]
    form = client.post("/api/answer", content=json.dumps(good))
    assert form.status_code == 415
    typed = {"content-type": "application/json"}
    assert client.post("/api/answer", content=b"[[" * 9, headers=typed).status_code == 400
    assert client.post("/api/answer", content=b" " * 20_000, headers=typed).status_code == 413
    assert client.post("/api/answer", json=good).status_code == 200


def test_an_answer_that_comes_twice_is_kept_once(made: Any, tmp_path: Path) -> None:
    folder, study = made
    store = Store(tmp_path / ANSWERS_NAME, study)
    client = client_of(folder, study, store)
    state = client.post("/api/start", json={"device": "headphones"}).json()
    first = answer_to(study, state, Ear(), plan_session(study, 0)[0], 0)
    assert client.post("/api/answer", json=first).json()["session"]["done"] == 1
    again = client.post("/api/answer", json=first | {"rt_ms": 9})
    assert again.json()["session"]["done"] == 1
    assert store.sessions()[0].trials[0].rt_ms == 4000


def test_a_browser_goes_on_where_it_was_and_makes_room_for_another(
    made: Any, tmp_path: Path
) -> None:
    folder, study = made
    store = Store(tmp_path / ANSWERS_NAME, study)
    client = client_of(folder, study, store)
    state = client.post("/api/start", json={"device": "headphones"}).json()
    data = answer_to(study, state, Ear(), plan_session(study, 0)[0], 0)
    client.post("/api/answer", json=data)
    again = client_of(folder, study, store)  # the server was started again
    again.cookies = client.cookies
    assert again.post("/api/start", json={}).json()["session"]["done"] == 1
    fresh = again.post("/api/start", json={"device": "headphones", "new": True}).json()
    assert fresh["session"]["done"] == 0
    assert [session.number for session in store.sessions()] == [0, 1]
    stranger = client_of(folder, study, store)
    stranger.cookies.set(cookie_of(study), "guessed")
    assert stranger.get("/api/state").json()["session"] is None


def test_nothing_personal_is_kept(made: Any, tmp_path: Path) -> None:
    folder, study = made
    store = Store(tmp_path / ANSWERS_NAME, study)
    client = client_of(folder, study, store)
    client.headers["user-agent"] = "SpecialBrowser"
    client.post("/api/start", json={"device": "headphones", "name": "Jane"})
    word = client.cookies[cookie_of(study)]
    raw = store.path.read_bytes()
    for secret in (b"SpecialBrowser", b"Jane", b"testclient", word.encode()):
        assert secret not in raw
    with sqlite3.connect(store.path) as db:
        columns = {
            row[1] for t in ("session", "trial") for row in db.execute(f"PRAGMA table_info({t})")
        }
    db.close()
    assert columns == {
        "number", "word_sha256", "seed", "device", "app_version", "session", "part", "item",
        "slots", "answer", "plays", "rt_ms", "context_rate_hz",
    }  # fmt: skip


def test_many_may_begin_at_once(made: Any, tmp_path: Path) -> None:
    _, study = made
    store = Store(tmp_path / ANSWERS_NAME, study)
    with ThreadPoolExecutor(8) as pool:
        words = list(pool.map(lambda _: store.begin("headphones", "0"), range(16)))
    assert len(set(words)) == 16
    assert [session.number for session in store.sessions()] == list(range(16))


KILLED = """
import os, sys
from fxtrain.listen.store import Store
from fxtrain.listen.study import read_study
from pathlib import Path
store = Store(Path(sys.argv[2]), read_study(sys.argv[1]))
store.begin("headphones", "0")
store.answer(0, 0, {"choice": "a"}, {}, 1, 1)
os.kill(os.getpid(), 9)
"""


def test_an_answer_outlives_the_server(made: Any, tmp_path: Path) -> None:
    folder, study = made
    where = tmp_path / ANSWERS_NAME
    done = subprocess.run([sys.executable, "-c", KILLED, folder, where], check=False)
    assert done.returncode == -9
    assert Store(where, study).sessions()[0].trials[0].answer == {"choice": "a"}


def test_answers_stay_with_their_study(made: Any, tmp_path: Path) -> None:
    _, study = made
    Store(tmp_path / ANSWERS_NAME, study)
    other = small_study(tmp_path / "other", "abx", n_items=1, catches=0, seed=7)
    with pytest.raises(FxError, match="belong to another study") as error:
        Store(tmp_path / ANSWERS_NAME, other)
    one_line(error)
    (tmp_path / "text.sqlite").write_bytes(b"not a data base, but long enough to look like one")
    with pytest.raises(FxError, match="cannot be used as a file of answers"):
        Store(tmp_path / "text.sqlite", study)
    with pytest.raises(FxError, match="not a file of answers"):
        count_answers(tmp_path / "text.sqlite")


def test_from_answers_to_the_report(
    made: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, study = made
    monkeypatch.setattr(votes, "N_BOOTSTRAP", 20)
    monkeypatch.setattr(abx, "N_BOOTSTRAP", 10)
    where = folder / ANSWERS_NAME
    with pytest.raises(FxError, match="nobody has answered yet"):
        analyse_study(folder, tmp_path)
    with pytest.raises(FxError, match=f"fxtrain listen serve '{tmp_path}/my study'"):
        analyse_study(shutil.copytree(folder, tmp_path / "my study"), tmp_path)
    store = Store(where, study)
    with pytest.raises(FxError, match="no answer that counts yet"):
        analyse_study(folder, tmp_path)
    try:
        rng = np.random.default_rng(0)
        for number, ear in enumerate([*panel(6, 0, threshold_db=0.4), Ear(careless=True)]):
            store.begin("headphones", "0")
            trials = plan_session(study, number)
            for i, trial in enumerate(trials[: -1 if number == 5 else None]):
                answer = ear.answer(study, trial, rng)
                store.answer(number, i, answer, dict.fromkeys(trial.slots, 2), 60_000, 44_100)
        done = analyse_study(folder, tmp_path)
        again = analyse_study(folder, tmp_path / "again")
    finally:
        where.unlink()
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html == (tmp_path / "again" / "report.html").read_text(encoding="utf-8")
    assert again.data == done.data
    assert "7 listeners answered" in done.lines[0]
    assert "1 session unfinished" in done.lines[0]
    assert "Dry guitar: riff." in html
    assert "<details><summary>" in html
    assert html.count("<svg") == (2 if study.kind == "pairwise" else 1)
    assert not re.search(r"""(src|href)=["'](?!#|data:)|url\((?!#)|@import|<script""", html)
    table = (tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()
    assert table[0].startswith("listener,session_seed,device,trial,part,item")
    n_trials = sum(t.part != "training" for t in plan_session(study, 0))
    per_trial = len(study.conditions) if study.kind == "mushra" else 1
    assert len(table) - 1 == (7 * n_trials - 1) * per_trial
    data = json.loads((tmp_path / "analysis.json").read_text(encoding="utf-8"))
    assert data["conclusions"] == done.lines
    assert len(data["listeners"]) == 7
    all_in = sum(not v["why"] for v in data["listeners"])
    assert all_in <= 7


def test_export_to_webmushra(made: Any, tmp_path: Path) -> None:
    folder, study = made
    out = tmp_path / "webmushra"
    if study.kind == "pairwise":
        with pytest.raises(UsageError, match="no page for a choice of two"):
            export(folder, out)
        return
    lines = export(folder, out)
    (config,) = (out / "configs").glob("*.yaml")
    assert config.name in lines[0]
    text = config.read_text(encoding="utf-8")
    assert "- -" not in text  # which webMUSHRA's own parser cannot read
    assert '\n  -\n    - "random"\n    - type: ' in text
    data = yaml.safe_load(text)
    assert [page["type"] for page in data["pages"] if isinstance(page, dict)][:2] == [
        "generic", "volume",
    ]  # fmt: skip
    (items,) = [page for page in data["pages"] if isinstance(page, list)]
    assert items[0] == "random"
    pages = items[1:]
    kind = {"abx": "paired_comparison", "mushra": "mushra"}[study.kind]
    key = json.loads((out / "conditions.json").read_text(encoding="utf-8"))
    for page, item in zip(pages, study.items, strict=True):
        assert page["type"] == kind
        assert len(page["stimuli"]) == len(item.conditions) - 1  # it hides the reference itself
        for file in (page["reference"], *page["stimuli"].values()):
            assert (out / file).is_file()
        assert key[page["id"]]["part"] == ("catch" if item.catch else "test")
        for code, file in page["stimuli"].items():
            assert item.conditions[key[page["id"]][code]] == Path(file).stem
            with (
                wave.open(str(out / file)) as both,
                wave.open(str(folder / study.sounds[Path(file).stem].file.path)) as mono,
            ):
                left_and_right = np.frombuffer(both.readframes(both.getnframes()), np.int16)
                alone = np.frombuffer(mono.readframes(mono.getnframes()), np.int16)
            assert both.getnchannels() == 2
            assert np.array_equal(left_and_right.reshape(-1, 2), np.stack([alone, alone], axis=1))
    with pytest.raises(UsageError, match="not empty"):
        export(folder, out)

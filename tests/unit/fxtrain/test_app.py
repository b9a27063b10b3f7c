"""The guitarist's page, from the server's side: answers, limits, and who may ask."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from starlette.testclient import TestClient

from fixtures.audio import RATE_HZ, riff
from fixtures.models import random_run
from fixtures.page import cheap_work, open_cheap, wav
from fxpipe.level import loudness_lufs
from fxtrain.app import server
from fxtrain.app.ears import Ears
from fxtrain.app.limits import MAX_BOARD, Limits, Shelf, title_of
from fxtrain.app.server import page_app
from fxtrain.app.work import Work
from fxtrain.cli import cli, run_cli
from fxtrain.errors import CheckpointError
from fxtrain.export.board import BASES
from fxtrain.finding import model_folder
from fxtrain.predict import Kin
from fxtrain.web.requests import RefusedError
from fxtrain.web.server import HEADERS

LIMITS = Limits(n_bytes=400_000, seconds=3, n_clips=2, n_dries=1, n_sounds=6, n_waiting=8)
CLIP = wav(riff(RATE_HZ))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_run(tmp_path_factory.mktemp("app") / "run")


@pytest.fixture(scope="module")
def client(model: Path) -> Iterator[TestClient]:
    work = cheap_work(model)
    yield TestClient(page_app(work, LIMITS), base_url="http://127.0.0.1")
    work.close()


def give(client: TestClient, data: bytes = CLIP, name: str = "a lick.wav") -> Any:
    answer = client.post("/api/clip", params={"name": name}, content=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


def pedals_of(found: Any) -> list[dict[str, Any]]:
    keys = ("name", "settings", "bypassed")
    return [{key: pedal[key] for key in keys} for pedal in found["board"]["pedals"]]


def refused(client: TestClient, path: str, data: Any, status: int) -> str:
    content = data if isinstance(data, bytes) else json.dumps(data).encode()
    answer = client.post(path, content=content)
    assert answer.status_code == status, answer.text
    error: str = answer.json()["error"]
    assert "\n" not in error
    return error


def test_a_clip_is_answered_with_a_board(client: TestClient) -> None:
    found = give(client, name="../../etc/a lick.wav")
    board = found["board"]
    assert board["title"] == "a lick.wav"
    assert len(board["pedals"]) >= 2
    assert board["settings"] == "typical"
    assert board["sentence"].startswith(" → ".join(p["name"] for p in board["pedals"]))
    assert len(board["alternatives"]) == 3
    assert set(board["textbook"]) == {p["name"] for p in board["pedals"]}
    assert len(found["id"]) > 20
    sound = client.get(found["sound"]["url"])
    assert sound.headers["content-type"] == "audio/flac"
    assert found["sound"]["seconds"] == pytest.approx(1.0)
    assert found["rate_hz"] == RATE_HZ


def test_the_page_knows_every_pedal_and_limit(client: TestClient) -> None:
    facts = client.get("/api/start").json()
    assert facts["limits"] == {"n_bytes": 400_000, "seconds": 3}
    named = {pedal["name"]: pedal for pedal in facts["pedals"]}
    assert named["delay"]["known"]
    assert not named["octaver"]["known"]
    assert [knob["label"] for knob in named["chorus"]["knobs"]] == ["rate", "depth", "delay", "mix"]
    assert "phase_cycles" in named["chorus"]["settings"]


def test_a_board_is_heard_again_as_it_was_changed(client: TestClient) -> None:
    found = give(client)
    pedals = pedals_of(found)[::-1]
    pedals[0]["bypassed"] = True
    answer = client.post(
        "/api/render", json={"clip": found["id"], "dry": "synth-1", "pedals": pedals}
    ).json()
    names = [pedal["name"] for pedal in answer["board"]["pedals"]]
    assert names == [pedal["name"] for pedal in pedals]
    assert answer["board"]["probability"] is None
    assert f"bypassed and left out: {names[0]}" in answer["board"]["remarks"]
    before = {pedal["name"]: pedal["probability"] for pedal in found["board"]["pedals"]}
    assert {p["name"]: p["probability"] for p in answer["board"]["pedals"]} == before
    assert client.get(answer["sound"]["url"]).content[:4] == b"fLaC"


def exported(client: TestClient, clip: str, pedals: list[dict[str, Any]]) -> Any:
    answer = client.post("/api/export/chain", json={"clip": clip, "pedals": pedals})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_an_edited_board_is_exported_with_its_own_textbook(client: TestClient) -> None:
    found = give(client)
    as_heard = exported(client, found["id"], pedals_of(found))
    assert as_heard["alternatives"] == found["board"]["alternatives"]
    assert as_heard["textbook"] == found["board"]["textbook"]
    facts = client.get("/api/start").json()["pedals"]
    typical = {pedal["name"]: pedal["settings"] for pedal in facts}
    names = ("reverb", "octaver", "gate", "eq", "fuzz", "compressor")  # the model knows three
    pedals = [{"name": name, "settings": typical[name]} for name in names]
    board = exported(client, found["id"], pedals)
    assert board["textbook"] == ["compressor", "gate", "octaver", "fuzz", "eq", "reverb"]
    assert board["alternatives"] == []
    assert exported(client, found["id"], [])["textbook"] == []


def test_the_example_says_what_it_is(client: TestClient) -> None:
    found = client.post("/api/example", content=b"{}").json()
    assert found["truth"] == ["compressor", "wah", "overdrive"]
    assert found["board"]["title"] == "example: compressor → wah → overdrive"
    assert give(client)["truth"] == []


def test_orders_that_sound_alike_are_said_of_any_board(client: TestClient) -> None:
    facts = client.get("/api/start").json()
    typical = {pedal["name"]: pedal["settings"] for pedal in facts["pedals"]}
    pedals = [{"name": n, "settings": typical[n]} for n in ("delay", "reverb", "fuzz")]
    found = give(client)
    asked = {"clip": found["id"], "dry": "synth-2", "pedals": pedals}
    board = client.post("/api/render", json=asked).json()["board"]
    assert board["swaps"] == [["delay", "reverb"]]
    assert board["settings"] == "typical"
    pedals[0]["settings"] = typical["delay"] | {"delay_ms": 500.0}
    board = client.post("/api/render", json=asked).json()["board"]
    assert board["settings"] == "given"


def test_a_board_begins_with_the_knobs_as_they_were_heard(tmp_path: Path) -> None:
    work = cheap_work(random_run(tmp_path / "run", hear_knobs=True))
    client = TestClient(page_app(work, LIMITS), base_url="http://127.0.0.1")
    facts = client.get("/api/start").json()
    typical = {pedal["name"]: pedal["settings"] for pedal in facts["pedals"]}
    found = give(client)
    pedals = pedals_of(found)
    assert found["board"]["settings"] == "heard"
    assert "settings as heard, roughly" in found["board"]["basis"]
    assert all(pedal["settings"] != typical[pedal["name"]] for pedal in pedals)
    assert exported(client, found["id"], pedals[::-1])["settings"] == "heard"  # moved, not turned
    first_try = [pedal | {"settings": typical[pedal["name"]]} for pedal in pedals]
    assert exported(client, found["id"], first_try)["settings"] == "typical"
    assert exported(client, found["id"], [first_try[0], *pedals[1:]])["settings"] == "given"
    others = [
        {"name": name, **turned}
        for name, turned in found["turned"].items()
        if name not in {pedal["name"] for pedal in pedals}
    ]
    assert others
    assert all(pedal["settings"] != typical[pedal["name"]] for pedal in others)
    assert exported(client, found["id"], others)["settings"] == "heard"
    for pedal in pedals:
        assert found["turned"][pedal["name"]]["settings"] == pedal["settings"]
    work.close()


def test_your_own_dry_recording_is_played(client: TestClient) -> None:
    found, loud = give(client), wav(0.5 * riff(RATE_HZ // 2))
    dry = client.post("/api/dry", params={"name": "C:\\dry.wav"}, content=loud).json()
    assert dry["title"] == "dry.wav"
    asked = {"clip": found["id"], "dry": dry["id"], "pedals": []}
    answer = client.post("/api/render", json=asked).json()
    assert answer["sound"]["seconds"] == pytest.approx(0.5)
    client.post("/api/dry", content=loud)
    assert "no longer here" in refused(client, "/api/render", asked, 404)


@pytest.mark.parametrize(
    ("format_name", "file", "start"),
    [
        ("chain", "chain.json", b"{\n"),
        ("svg", "board.svg", b"<svg"),
        ("pedalboard", "board.py", b"#!"),
        ("guitarix", "board.gx", b"["),
        ("mod", "board.pedalboard.zip", b"PK"),
        ("sox", "board.sox.sh", b"#!/bin/sh"),
        ("readme", "README.txt", b"a lick.wav"),
    ],
)
def test_every_file_can_be_had(
    client: TestClient, format_name: str, file: str, start: bytes
) -> None:
    found = give(client)
    asked = {"clip": found["id"], "pedals": pedals_of(found)}
    answer = client.post(f"/api/export/{format_name}", json=asked)
    assert answer.headers["content-disposition"] == f'attachment; filename="{file}"'
    assert answer.content.startswith(start)
    assert isinstance(json.loads(answer.headers["x-notes"]), list)


def test_what_cannot_be_heard_is_said_in_one_line(client: TestClient) -> None:
    assert "cannot be read as audio" in refused(client, "/api/clip", b"no sound at all", 422)
    assert "this is empty (0 bytes)" in refused(client, "/api/clip", b"", 422)
    assert "3.5 s of sound; 0.1 to 3 s" in refused(
        client, "/api/clip", wav(riff(7 * RATE_HZ // 2)), 422
    )
    flac = io.BytesIO()
    soundfile.write(flac, np.zeros(60 * RATE_HZ), RATE_HZ, format="FLAC")
    assert refused(client, "/api/clip", flac.getvalue(), 422) == (
        "This is 60.0 s of sound; 0.1 to 3 s can be used. Cut out the part with the guitar."
    )
    assert refused(client, "/api/clip", wav(np.zeros(RATE_HZ // 20)), 422) == (
        "This is 0.050 s of sound; 0.1 to 3 s can be used. Give a second or two of guitar."
    )
    assert "Larger than 0.38 MB" in refused(client, "/api/clip", b"x" * 400_001, 413)
    assert "Larger than" in refused(client, "/api/render", b"x" * 100_001, 413)


def test_the_page_is_told_of_families_that_are_surer_than_their_pedals(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    kin = (Kin("drive", 0.97, {"distortion": 0.58, "overdrive": 0.4}),)
    monkeypatch.setattr("fxtrain.predict.kin_of", lambda *known: kin)
    assert give(client)["kin"] == ["some drive pedal 97% (distortion 58%, overdrive 40%)"]


def test_the_page_is_told_of_what_a_file_cannot_hold(client: TestClient) -> None:
    low = give(client, wav(riff(8_000), 8_000))
    assert low["board"]["missing"].startswith("all above 4 kHz")
    asked = {"clip": low["id"], "pedals": []}
    assert "all above 4 kHz" in client.post("/api/export/readme", json=asked).text
    assert give(client)["board"]["missing"] == ""


def test_boards_that_cannot_be_are_refused(client: TestClient) -> None:
    found = give(client)
    asked = {"clip": found["id"], "dry": "synth-1", "pedals": pedals_of(found)}
    delay = {"name": "delay", "settings": {"delay_ms": 219.0, "feedback": 0.3, "mix": 0.3}}
    for change, status, says in (
        ({"pedals": "x"}, 422, "a list of at most"),
        ({"pedals": [delay] * (MAX_BOARD + 1)}, 422, "a list of at most"),
        ({"pedals": [{"name": "delay"}]}, 422, "key 'settings' is missing"),
        ({"pedals": [{"name": "../x", "settings": {}}]}, 422, "not known here"),
        ({"pedals": [delay | {"settings": delay["settings"] | {"mix": 9}}]}, 422, "expected 0.2"),
        ({"dry": "../../etc/passwd"}, 404, "no longer here"),
        ({"dry": 7}, 404, "no longer here"),
        ({"dry": [1]}, 404, "no longer here"),
        ({"dry": {}}, 404, "no longer here"),
        ({"dry": None}, 404, "no longer here"),
        ({"clip": [1]}, 404, "no longer here"),
        ({"clip": None}, 404, "no longer here"),
    ):  # fmt: skip
        assert says in refused(client, "/api/render", asked | change, status)
    assert "no such file" in refused(client, "/api/export/passwd", asked, 404)
    for data in (b"{", b"[]", b"[" * 90_000, b"\xff"):
        assert "JSON" in refused(client, "/api/render", data, 400)
    assert client.get("/sound/..%2f..%2fetc%2fpasswd").status_code == 404


def test_only_this_page_may_post(client: TestClient) -> None:
    for origin, status in (
        ("http://evil.example", 403), ("null", 403), ("http://127.0.0.1:99", 403),
        ("http://127.0.0.1", 200), (None, 200),
    ):  # fmt: skip
        headers = {} if origin is None else {"origin": origin}
        answer = client.post("/api/clip", content=CLIP, headers=headers)
        assert answer.status_code == status, origin
        assert all(answer.headers[name] == value for name, value in HEADERS.items()), origin
    answer = client.post("/api/clip", content=CLIP, headers={"host": "evil.example"})
    assert answer.status_code == 400


def test_only_the_last_few_are_remembered(client: TestClient) -> None:
    first = give(client)
    for _ in range(LIMITS.n_clips):
        last = give(client)
    asked = {"clip": first["id"], "dry": "synth-1", "pedals": []}
    assert "no longer here" in refused(client, "/api/render", asked, 404)
    assert client.post("/api/render", json=asked | {"clip": last["id"]}).status_code == 200
    names = {give(client)["id"] for _ in range(20)}
    assert len(names) == 20


def test_styles_of_the_page_are_its_own(client: TestClient) -> None:
    one, other = client.get("/"), client.get("/")
    policy = one.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    nonce = policy.split("'nonce-")[1].split("'")[0]
    assert f'content="{nonce}"' in one.text
    assert nonce not in other.text
    for word in ("http:", "https:", "//cdn"):
        assert word not in one.text


def test_too_many_at_once_are_told_to_wait(model: Path) -> None:
    work = cheap_work(model)
    client = TestClient(page_app(work, Limits(n_waiting=0)), base_url="http://127.0.0.1")
    for path in ("/api/clip", "/api/example"):
        assert "Too much at once" in refused(client, path, CLIP, 503)
    work.close()


def test_no_more_uploads_are_held_than_may_wait(model: Path) -> None:
    page = server.Page(cheap_work(model), Limits(n_waiting=2))

    async def at_once() -> None:
        come = asyncio.Event()

        class Slow:
            async def stream(self) -> AsyncIterator[bytes]:
                await come.wait()
                yield b"sound"

        held = [asyncio.create_task(page.upload(Slow())) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(RefusedError, match="Too much at once") as told:
            await page.upload(Slow())
        assert told.value.status == 503
        come.set()
        assert await asyncio.gather(*held) == [b"sound"] * 2
        assert await page.upload(Slow()) == b"sound"

    asyncio.run(at_once())


def test_the_model_is_loaded_when_the_page_asks_for_it(model: Path) -> None:
    """Not before: the page and its scripts would wait for torch to be imported."""
    loads = []
    work = Work(lambda: loads.append(1) or open_cheap(model))
    client = TestClient(page_app(work, LIMITS), base_url="http://127.0.0.1")
    assert client.get("/").status_code == client.get("/page/app.js").status_code == 200
    assert (loads, work.ready) == ([], True)
    assert client.get("/api/start").json()["pedals"]
    client.get("/api/start")
    work.begin()
    assert work.close()
    assert loads == [1]
    work.begin()  # the page's clock may strike when all is over


def test_the_model_is_loaded_soon_though_nobody_looks(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def load() -> Ears:
        begun.set()
        return open_cheap(model)

    monkeypatch.setattr(server, "LOAD_AFTER_S", 0.0)
    work = Work(load)
    with TestClient(page_app(work, LIMITS), base_url="http://127.0.0.1"):
        assert begun.wait(60)
    work.close()


def test_a_model_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    work = cheap_work(tmp_path)
    client = TestClient(page_app(work, LIMITS), base_url="http://127.0.0.1")
    answer = client.get("/api/start")
    assert answer.status_code == 422
    assert "expected 'fxtrain-model'" in answer.json()["error"]
    work.close()


def test_nothing_is_written(
    client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    found = give(client)
    client.post("/api/export/mod", json={"clip": found["id"], "pedals": pedals_of(found)})
    assert list(tmp_path.iterdir()) == []


def test_loudness_is_known_after_levelling(client: TestClient) -> None:
    """What the page matches by is what the file has, also where the peak guard held it back."""
    peaky = np.zeros(RATE_HZ, np.float32)
    peaky[::4410] = 0.9
    peaky += 0.001 * riff(RATE_HZ)
    for wave in (riff(RATE_HZ), 0.01 * riff(RATE_HZ), 2e-4 * riff(RATE_HZ), peaky):
        found = give(client, wav(wave))
        data = client.get(found["sound"]["url"]).content
        heard, _ = soundfile.read(io.BytesIO(data))
        assert found["sound"]["lufs"] == pytest.approx(loudness_lufs(heard, RATE_HZ), abs=0.05)


def test_titles_are_never_paths() -> None:
    assert title_of("/a/b\\c.wav") == "c.wav"
    assert title_of("") == "clip"
    assert title_of("../..") == ".."
    assert title_of("a\x00\u202eb\n") == "a b"
    assert len(title_of("x" * 999)) == 60


def test_a_shelf_drops_what_was_not_used_for_longest() -> None:
    shelf: Shelf[int] = Shelf(2, "thing")
    a, b = shelf.put(1), shelf.put(2)
    shelf.get(a)
    shelf.put(3)
    assert shelf.get(a) == 1
    with pytest.raises(RefusedError, match="no longer here"):
        shelf.get(b)
    assert len(shelf) == 2


def test_a_missing_model_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("fxtrain.finding.SHIPPED", tmp_path / "shipped")
    with pytest.raises(CheckpointError, match="no trained model under runs/"):
        model_folder(None)
    assert run_cli(cli, "fxtrain", ["serve", "--run", "nowhere"]) == 1
    assert "no model.json" in capsys.readouterr().err
    assert model_folder(model) == model
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/model.json").write_text("{}")
    assert model_folder(None) == Path("runs/a")
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped/model.json").write_text("{}")
    assert model_folder(None) == tmp_path / "shipped"


def test_the_page_keeps_room_for_what_it_says_of_settings():
    page = (Path(server.__file__).with_name("static") / "index.html").read_text("utf-8")
    assert all(f'="{BASES[basis]}"' in page for basis in ("heard", "typical"))

"""The page on a slow line, by a hasty hand: answers that come late, in another order, or not."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.audio import RATE_HZ, riff
from fixtures.browser import complaints, needs_chromium, requested, resize
from fixtures.guitarist import SIZES, Guitarist
from fixtures.models import random_run
from fixtures.page import page_served, wav
from fxtrain.app.server import board_json
from fxtrain.export.board import Board

pytestmark = needs_chromium

LINE = """
  const [real, decode] = [window.fetch, AudioContext.prototype.decodeAudioData];
  const [copy, stop] = [AudioBuffer.prototype.copyToChannel, AudioBufferSourceNode.prototype.stop];
  Object.assign(window, { held: [], next: "", todo: "", came: 0, loud: 0, events: [] });
  window.fetch = async (url, ...more) => {
    if (!window.next || !String(url).startsWith(window.next)) return real(url, ...more);
    const todo = window.todo;
    window.next = "";
    await new Promise((done) => window.held.push(done));
    if (todo === "lose") throw new TypeError("Failed to fetch");
    if (todo === "break off") {
      const broken = { pull: (line) => line.error(new TypeError("network error")) };
      return new Response(new ReadableStream(broken));
    }
    return real(url, ...more);
  };
  AudioContext.prototype.decodeAudioData = function (data) {
    return decode.call(this, data).finally(() => { window.came += 1; });
  };
  AudioBuffer.prototype.copyToChannel = function (data, channel) { // of B after that of A
    window.loud = data.reduce((sum, sample) => sum + sample ** 2, 0);
    window.events.push("made");
    copy.call(this, data, channel);
  };
  AudioBufferSourceNode.prototype.stop = function (at) {
    window.events.push("stopped");
    stop.call(this, at);
  };
"""
"""The next request under `next` is held until it is let go; then all comes, a part, or nothing."""


class Hasty(Guitarist):
    """A guitarist who does not wait."""

    def do(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def hold(self, url: str, todo: str = "answer") -> None:
        self.do(f"next = '{url}'; todo = '{todo}'")

    def until_held(self) -> None:
        self.until(lambda: self.do("return held.length"))

    def let_go(self) -> None:
        self.do("held.pop()()")

    def bypass(self, place: int) -> None:
        self.press(f".card:nth-child({place}) [aria-pressed]")

    @property
    def b_is_loud(self) -> float:
        return float(self.do("return loud"))

    @property
    def error(self) -> str:
        return self.text("#error")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with page_served(random_run(tmp_path_factory.mktemp("slow") / "run")) as found:
        yield found


@pytest.fixture
def page(driver: Any, address: str) -> Iterator[Hasty]:
    found = Hasty(driver, address)
    found.do(LINE)
    yield found
    assert complaints(driver) == []


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "lick.wav"
    path.write_bytes(wav(riff(RATE_HZ)))
    return path


def test_a_press_before_the_clips_sound_is_there_is_not_lost(page: Hasty, clip: Path) -> None:
    page.hold("/sound/")
    page.one("#file").send_keys(str(clip))
    page.until_held()
    page.press("#play")
    assert page.text("#play") == "Pause"
    page.rendering(lambda: page.bypass(1))  # whose sound is there before the clip's
    page.let_go()
    page.until(lambda: page.status.startswith("Heard on lick.wav"))
    page.until(lambda: int(page.one("#seek").get_attribute("value")) > 10)
    page.do("events = []")
    page.rendering(lambda: page.bypass(2))  # no hole while the new sounds are made
    assert page.do("return events") == ["made", "made", "stopped", "stopped"]
    page.press("#play")
    assert page.text("#play") == "Play"


def test_an_answer_that_breaks_off_is_told_as_one_that_does_not_come(
    page: Hasty, clip: Path
) -> None:
    page.give(clip)
    for url, press in (("/api/render", ".card [aria-pressed]"), ("/api/export", "[data-format]")):
        page.hold(url, "break off")
        page.press(press)
        page.until_held()
        page.let_go()
        page.until(lambda: page.error)
        assert page.error.startswith("The program behind this page does not answer.")
    page.rendering(lambda: page.bypass(1))
    begun = {"source": f"{LINE} next = '/api/start'; todo = 'break off';"}
    script = page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", begun)
    page.driver.refresh()
    page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)
    page.until_held()
    page.let_go()
    page.until(lambda: page.error)
    assert page.error.startswith("The program behind this page does not answer.")


def test_b_is_the_board_that_is_shown_or_silent(page: Hasty, clip: Path) -> None:
    page.hold("/api/render", "lose")
    page.one("#file").send_keys(str(clip))
    page.until_held()
    assert page.b_is_loud == 0  # not the clip in its place
    page.let_go()
    page.until(lambda: page.error.startswith("The program behind this page does not answer"))
    page.rendering(lambda: page.press("#hear-b"))
    assert page.b_is_loud > 0
    page.hold("/sound/")
    page.bypass(1)
    page.until_held()
    page.rendering(lambda: page.bypass(2))
    before, came = page.b_is_loud, page.do("return came")
    page.let_go()
    page.until(lambda: page.do("return came") > came)
    assert page.b_is_loud == before  # the board before is too late


def test_what_went_wrong_of_an_earlier_board_or_clip_is_past(page: Hasty, clip: Path) -> None:
    page.give(clip)
    page.hold("/api/render", "lose")
    page.bypass(1)
    page.until_held()
    page.rendering(lambda: page.bypass(1))
    page.let_go()
    assert not page.error
    page.press("[data-format=mod]")
    page.until(lambda: page.text("#notes"))
    page.hold("/sound/", "lose")
    page.one("#file").send_keys(str(clip))
    page.until_held()
    assert not page.text("#notes")
    page.let_go()
    page.until(lambda: page.error)
    assert page.error == "The clip's sound did not come; give the clip again."
    assert not page.one("#play").is_enabled()  # least of all the sound of the clip before
    page.give(clip)
    assert page.one("#play").is_enabled()


def test_the_board_plays_what_was_chosen_last(page: Hasty, clip: Path) -> None:
    page.give(clip)
    page.hold("/api/dry")
    page.one("#dry-file").send_keys(str(clip))
    page.until_held()
    second = clip.with_name("second.wav")
    second.write_bytes(clip.read_bytes())
    page.rendering(lambda: page.one("#dry-file").send_keys(str(second)))
    page.let_go()
    page.until(lambda: len(page.all("#dry option")) == 5)
    assert page.do("return document.querySelector('#dry').selectedOptions[0].text") == (
        "yours: second.wav"
    )


def test_a_slow_file_is_said_to_be_on_its_way_and_comes_once(page: Hasty, clip: Path) -> None:
    page.give(clip)
    for url, press, under_way, done in (
        ("/api/export/svg", "[data-format=svg]", "Saving: The drawing (SVG) …", "Saved board.svg."),
        ("/api/example", "#example", "Playing the built-in guitar …", "Heard on the built-in"),
    ):
        requested(page.driver)
        page.hold(url)
        page.press(press)
        page.until_held()
        page.press(press)
        assert page.status == page.text("#brief") == under_way
        page.let_go()
        page.until(lambda done=done: page.status.startswith(done))
        assert len([each for each in requested(page.driver) if each.endswith(url)]) == 1
    page.hold("/api/export/svg", "lose")
    page.press("[data-format=svg]")
    page.until_held()
    page.let_go()
    page.until(lambda: page.error)
    assert not page.one("#brief").is_displayed()
    page.press("[data-format=svg]")  # one that was lost can be asked for again
    page.until(lambda: page.status == "Saved board.svg.")


CLEAR = "for (let it; (it = document.querySelector('.remove'));) it.click();"
FILL = """
  for (const name of ["compressor", "delay", "reverb", "fuzz"]) {
    document.getElementById("add").value = name;
    document.getElementById("add-button").click();
  }
"""


def test_a_swap_is_one_of_the_board_that_is_shown(page: Hasty, clip: Path) -> None:
    page.give(clip)
    page.rendering(lambda: page.do(CLEAR + FILL))
    for before, after in (("delay", "reverb"), ("reverb", "delay")):
        (swap,) = page.all(".swap")
        assert swap.accessible_name == f"Swap {before} and {after}: nobody would hear it"
        page.rendering(lambda swap=swap: swap.send_keys("\ue007"))
        assert page.board == ["compressor", after, before, "fuzz"]
        assert page.driver.switch_to.active_element == page.one(".swap")
    page.do("for (const what of ['.remove', '.swap']) document.querySelector(what).click()")
    assert page.board == ["reverb", "delay", "fuzz"]
    page.rendering(lambda: None)


ARROWS = """
  return [...document.querySelectorAll(".card")]
    .filter((card) => getComputedStyle(card, "::after").content !== "none").length;
"""


@pytest.mark.parametrize("size", [*SIZES, (390, 844)])
def test_pairs_that_could_be_swapped_move_nothing_and_leave_no_hole(
    page: Hasty, clip: Path, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 0

    def with_pairs(board: Board) -> dict[str, Any]:
        names = board.chain.names
        return board_json(board) | {"swaps": tuple(itertools.pairwise(names))[:most]}

    monkeypatch.setattr("fxtrain.app.server.board_json", with_pairs)
    page.give(clip)
    resize(page.driver, *size)
    place = "document.getElementById('play').getBoundingClientRect().top + scrollY"
    hole = """
      const [row, panel] = ["#reset", "section:has(#reset)"].map((css) => (
        document.querySelector(css).getBoundingClientRect().bottom));
      return panel - row;
    """
    for most in (0, 3, 1):  # what with_pairs gives
        page.rendering(lambda: page.do(f"{CLEAR} {FILL} window.was = {place};"))
        assert [len(page.all(".swap")), page.do(ARROWS)] == [most, 3 - most]
        assert page.do(f"return {place} - was") == 0
        assert page.do(hole) < 30
        assert page.do("return document.documentElement.scrollWidth <= innerWidth")
    swap = page.one(".swap")
    assert min(swap.rect["width"], swap.rect["height"]) >= 24
    page.do("document.querySelector('.swap').focus()")
    turn = "const knob = document.querySelector('.knob input'); knob.stepUp(3);"
    turn += " knob.dispatchEvent(new Event('input'));"
    most = 0
    page.rendering(lambda: page.do(turn))
    assert not page.all(".swap")  # whose keyboard is still there
    assert page.driver.switch_to.active_element == page.one(".card button:enabled")

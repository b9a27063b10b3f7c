"""The guitarist's page in a real Chromium: the whole flow by clicks and keys.

FXTRAIN_SHOTS names a folder for screenshots, FXTRAIN_AXE the axe.min.js of npm's axe-core.
"""

from __future__ import annotations

import base64
import json
import os
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from fixtures.audio import RATE_HZ, riff
from fixtures.browser import complaints, needs_chromium, requested, resize
from fixtures.guitarist import SIZES, Guitarist
from fixtures.page import wav
from fxtrain.app.server import board_json

pytestmark = needs_chromium

AXE = os.environ.get("FXTRAIN_AXE", "")
FILES = {
    "svg": "board.svg", "chain": "chain.json", "pedalboard": "board.py", "guitarix": "board.gx",
    "mod": "board.pedalboard.zip", "sox": "board.sox.sh", "readme": "README.txt",
}  # fmt: skip


@pytest.fixture
def page(driver: Any, address: str, tmp_path: Path) -> Iterator[Guitarist]:
    found = Guitarist(driver, address)
    (tmp_path / "a lick.wav").write_bytes(wav(riff(2 * RATE_HZ)))
    found.give(tmp_path / "a lick.wav")
    yield found
    assert complaints(driver) == []
    own = (address, "data:", f"blob:{address}")
    assert [url for url in requested(driver) if not url.startswith(own)] == []


def test_what_was_heard_is_shown(page: Guitarist) -> None:
    assert page.text("#sentence").startswith(" → ".join(page.board))
    assert "sure" in page.text("#sentence")
    assert "textbook" in page.text("#textbook")
    assert page.text("#clip-name") == "a lick.wav"
    assert page.status == f"Heard on a lick.wav: {page.text('#sentence')}"
    answer = " → ".join(page.board)
    assert len(page.all("#alternatives li")) == 2
    assert answer not in [button.text for button in page.all("#alternatives button")]
    assert "settings as heard, roughly" in page.text("#basis")
    painted = """
      const canvas = document.querySelector("#wave > div").shadowRoot.querySelector("canvas");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return pixels.some((value) => value > 0);
    """
    page.until(lambda: page.driver.execute_script(painted))
    assert page.text("#trust").startswith("Trust the percentages less")
    assert "of 6.0 seconds" in page.one("#seek").get_attribute("aria-valuetext")
    page.shot("heard")


def test_a_clip_is_dropped(page: Guitarist) -> None:
    script = """
      const bytes = Uint8Array.from(atob(arguments[0]), (c) => c.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], "dropped.wav"));
      const init = { dataTransfer: transfer, cancelable: true, bubbles: true };
      const over = new DragEvent("dragover", init);
      const target = document.getElementById("drop");
      const taken = !target.dispatchEvent(over);
      target.dispatchEvent(new DragEvent("drop", init));
      return taken;
    """
    sound = base64.b64encode(wav(0.5 * riff(RATE_HZ))).decode()
    before = page.n_renders
    assert page.driver.execute_script(script, sound)
    page.until(lambda: page.n_renders > before and page.status.startswith("Heard"))


HAND_OVER = """
  const [names, target, sound] = arguments;
  const bytes = Uint8Array.from(atob(sound), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  for (const name of names) transfer.items.add(new File([bytes], name));
  const event = new DragEvent("drop", { dataTransfer: transfer, cancelable: true, bubbles: true });
  return !document.querySelector(target).dispatchEvent(event);
"""


def test_a_clip_that_misses_the_frame_is_heard_too_and_two_are_not(page: Guitarist) -> None:
    sound = base64.b64encode(wav(0.5 * riff(RATE_HZ))).decode()
    assert page.driver.execute_script(HAND_OVER, ["one.wav", "two.wav"], "footer", sound)
    assert page.text("#error").startswith("That is more than one file")
    assert page.driver.execute_script(HAND_OVER, ["missed.wav"], "footer", sound)
    page.until(lambda: page.status.startswith("Heard on missed.wav"))
    assert not page.one("#error").is_displayed()


def test_nothing_of_a_clip_that_comes_late_is_shown_or_played(
    page: Guitarist, tmp_path: Path
) -> None:
    page.press("#play")  # and what plays stops without a complaint
    late = """
      const real = window.fetch;
      let first = true;
      window.fetch = async (...words) => {
        if (first && String(words[0]).startsWith("/sound/")) {
          first = false;
          await new Promise((done) => setTimeout(done, 3000));
          window.late = true;
        }
        return real(...words);
      };
    """
    page.driver.execute_script(late)
    for name, seconds in (("long.wav", 8), ("short.wav", 1)):
        (tmp_path / name).write_bytes(wav(0.5 * riff(seconds * RATE_HZ)))
        page.one("#file").send_keys(str(tmp_path / name))
        page.until(lambda name=name: page.text("#clip-name") == name)
        page.press("#play")  # nothing to play yet: no complaint either
    page.until(lambda: page.driver.execute_script("return window.late"))
    page.until(lambda: page.status.startswith("Heard on short.wav"))
    time.sleep(0.5)  # the late sound would be decoded by now
    assert page.status.startswith("Heard on short.wav")
    assert page.one("#seek").get_attribute("aria-valuetext").endswith("of 6.0 seconds")
    page.driver.refresh()
    page.until(lambda: page.status == "Ready.")


def test_another_answer_goes_on_the_board(page: Guitarist) -> None:
    button = page.all("#alternatives button")[1]
    wanted = button.text.split(" → ")
    page.rendering(button.click)
    assert page.board == wanted
    page.rendering(lambda: page.press("#reset"))
    assert page.text("#sentence").startswith(" → ".join(page.board))


def test_a_pedal_of_another_answer_is_set_as_it_would_have_been_heard(
    page: Guitarist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = next(name for name in ("fuzz", "wah", "delay", "reverb") if name not in page.board)

    def with_other(board: Any) -> dict[str, Any]:
        return board_json(board) | {"alternatives": [{"pedals": [other], "probability": 0.4}]}

    monkeypatch.setattr("fxtrain.app.server.board_json", with_other)
    page.give(tmp_path / "a lick.wav")
    page.rendering(lambda: page.press("#alternatives button"))
    assert page.board == [other]
    assert "settings as heard, roughly" in page.text("#basis")


def test_what_is_hardly_likely_is_not_named(
    page: Guitarist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sure(board: Any) -> dict[str, Any]:
        found = board_json(board)
        names = [pedal["name"] for pedal in found["pedals"]]
        others = [(names, 0.996), (["fuzz"], 0.0101), (["wah"], 0.0099)]
        found["alternatives"] = [{"pedals": n, "probability": p} for n, p in others]
        for pedal, p in zip(found["pedals"], (0.999, 0.004, 0.126, 0.5), strict=False):
            pedal["probability"] = p
        return found

    monkeypatch.setattr("fxtrain.app.server.board_json", sure)
    (tmp_path / "sure.wav").write_bytes(wav(riff(RATE_HZ)))
    page.give(tmp_path / "sure.wav")
    assert [row.text for row in page.all("#alternatives li")] == ["1%\nfuzz"]
    told = [card.text.split("%")[0] for card in page.all(".card .sure")]
    assert told[:3] == ["99", "<1", "13"]


def test_an_order_that_the_clip_does_not_tell_is_no_percentage(
    page: Guitarist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(board: Any) -> dict[str, Any]:
        rows = (("fuzz", "wah", 0.41), ("fuzz", "delay", 0.7), ("wah", "delay", 0.9))
        pairs = [{"first": a, "second": b, "probability": p, "audible": True} for a, b, p in rows]
        return board_json(board) | {"pairs": pairs, "pedals": []}

    monkeypatch.setattr("fxtrain.app.server.board_json", said)
    (tmp_path / "open.wav").write_bytes(wav(riff(RATE_HZ)))
    page.give(tmp_path / "open.wav")
    assert page.text("#unsure") == (
        "Not sure of the order: fuzz before delay (70%). "
        "This clip does not tell which comes first: fuzz or wah."
    )
    assert page.text("#basis") == "no pedals: you hear the guitar alone"  # and no knobs to speak of


def test_the_wave_follows_the_theme(page: Guitarist) -> None:
    painted = """
      const canvas = document.querySelector("#wave > div").shadowRoot.querySelector("canvas");
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return pixels.slice(pixels.findIndex((value) => value > 0)).slice(0, 3).join();
    """
    page.until(lambda: page.driver.execute_script(painted))
    light = page.driver.execute_script(painted)
    page.theme("dark")
    page.until(lambda: page.driver.execute_script(painted) not in ("", light))
    page.theme("light")


def test_the_example_says_what_it_is(page: Guitarist) -> None:
    assert not page.one("#truth").is_displayed()
    page.press("#example")
    page.until(lambda: page.status.startswith("Heard on the built-in example"))
    assert page.text("#truth") == "The example is: compressor → wah → overdrive"
    assert page.text("#clip-name") == "the built-in example"
    page.shot("example")


def test_a_word_is_seen_for_a_few_seconds(page: Guitarist) -> None:
    assert page.text("#brief") == "Heard."
    page.until(lambda: not page.one("#brief").is_displayed())
    assert page.status.startswith("Heard on")  # a screen reader still finds it


def test_pedals_move_by_button_and_keep_the_focus(page: Guitarist) -> None:
    before = page.board
    page.rendering(lambda: page.press(".card:first-child .later"))
    assert page.board == [before[1], before[0], *before[2:]]
    label = page.driver.switch_to.active_element.get_attribute("aria-label")
    assert label.startswith(f"Move {before[0]}")
    assert f"{before[0]} is now pedal 2" in page.status


def test_pedals_are_dragged(page: Guitarist) -> None:
    from selenium.webdriver import ActionChains

    before = page.board
    head, target = page.one(".card:first-child header"), page.one(".card:nth-child(2)")
    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", target)

    def drag() -> None:
        ActionChains(page.driver).click_and_hold(head).move_to_element(target).release().perform()

    page.rendering(drag)
    assert page.board == [before[1], before[0], *before[2:]]


def test_knobs_turn_by_key_and_by_hand(page: Guitarist) -> None:
    from selenium.webdriver import ActionChains, Keys

    knob = page.one(".card:first-child .knob input")
    first = knob.get_attribute("aria-valuetext")
    page.rendering(lambda: knob.send_keys(Keys.ARROW_UP * 3))
    second = knob.get_attribute("aria-valuetext")
    assert second != first
    assert page.text("#basis") == "settings as given"

    def turn() -> None:
        ActionChains(page.driver).click_and_hold(knob).move_by_offset(0, 60).release().perform()

    page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", knob)
    page.rendering(turn)
    assert knob.get_attribute("aria-valuetext") not in (first, second)
    assert page.text(".card:first-child .knob output") == knob.get_attribute("aria-valuetext")


def test_bypass_add_remove_and_swap(page: Guitarist) -> None:
    from selenium.webdriver.support.ui import Select

    page.rendering(lambda: page.press(".card:first-child [aria-pressed]"))
    assert page.one(".card:first-child [aria-pressed]").get_attribute("aria-pressed") == "true"
    assert "bypassed" in page.text(".card:first-child .sure")
    while page.board:
        page.press(".card:first-child .remove")
    before = page.n_renders
    for name in ("fuzz", "delay", "reverb"):
        Select(page.one("#add")).select_by_value(name)
        page.press("#add-button")
    page.until(lambda: page.n_renders > before and page.all(".swap"))
    assert page.board == ["fuzz", "delay", "reverb"]
    (swap,) = page.all(".card:nth-child(2) .swap")
    assert swap.accessible_name == "Swap delay and reverb: nobody would hear it"
    page.shot("board")
    page.rendering(lambda: page.press(".swap"))
    assert page.board == ["fuzz", "reverb", "delay"]


@pytest.mark.parametrize("size", SIZES)
def test_what_is_pressed_next_stays_where_it_is(page: Guitarist, size: tuple[int, int]) -> None:
    """The answer comes a moment after the change: the next press must not miss for it."""
    resize(page.driver, *size)
    place = "scrollY + document.querySelector('#add').getBoundingClientRect().top"
    turn = "const knob = document.querySelector('.knob input'); knob.stepUp(3);"
    turn += " knob.dispatchEvent(new Event('input', { bubbles: true }));"
    click = "document.querySelector(%s).click();"
    remove = [click % "'.remove'"] * len(page.board)
    for act in (turn, *remove, click % "'#add-button'"):
        page.rendering(partial(page.driver.execute_script, f"{act} window.was = {place};"))
        assert page.driver.execute_script(f"return {place} - window.was") == 0, act


def test_a_and_b_play_in_lock_step_at_one_loudness(page: Guitarist) -> None:
    page.press("#play")
    page.until(lambda: int(page.one("#seek").get_attribute("value")) > 10)
    page.press("#hear-b")
    assert page.one("#hear-b").get_attribute("aria-pressed") == "true"
    page.rendering(lambda: page.press(".card:first-child [aria-pressed]"))
    assert page.text("#play") == "Pause"
    page.press("#play")
    assert page.text("#play") == "Play"
    script = """
      const done = arguments[arguments.length - 1];
      import("/page/player.js").then(({ matched }) => {
        const make = (n, gain) => {
          const buffer = new AudioBuffer({ length: n, sampleRate: 44100 });
          buffer.copyToChannel(new Float32Array(n).fill(gain), 0);
          return buffer;
        };
        const [a, b] = matched({ sampleRate: 44100 },
          { buffer: make(1000, 0.5), lufs: -16 }, { buffer: make(500, 0.25), lufs: -22 });
        done([a.length, b.length, a.getChannelData(0)[0], b.getChannelData(0)[0]]);
      });
    """
    n_a, n_b, a, b = page.driver.execute_async_script(script)
    assert (n_a, n_b, b) == (1000, 1000, 0.25)
    assert a == pytest.approx(0.5 * 10 ** (-6 / 20), abs=1e-5)


def test_your_own_dry_recording_is_played(page: Guitarist, tmp_path: Path) -> None:
    (tmp_path / "dry.wav").write_bytes(wav(riff(RATE_HZ)))
    page.rendering(lambda: page.one("#dry-file").send_keys(str(tmp_path / "dry.wav")))
    chosen = page.driver.execute_script(
        "return document.getElementById('dry').selectedOptions[0].text"
    )
    assert chosen == "yours: dry.wav"


def test_every_file_is_saved(page: Guitarist, tmp_path: Path) -> None:
    where = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    page.rendering(lambda: page.press(".card:first-child [aria-pressed]"))
    for format_name, file in FILES.items():
        page.press(f"[data-format={format_name}]")
        page.until(lambda file=file: (tmp_path / "saved" / file).exists())
        assert page.status == f"Saved {file}."
    saved = json.loads((tmp_path / "saved/chain.json").read_bytes())
    assert [pedal["name"] for pedal in saved["pedals"]] == page.board
    assert saved["pedals"][0]["bypassed"]
    assert saved["title"] == "a lick.wav"


def test_what_cannot_be_heard_is_said_on_the_page(page: Guitarist, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_bytes(b"not a sound")
    page.one("#file").send_keys(str(tmp_path / "notes.wav"))
    page.until(lambda: page.one("#error").is_displayed())
    assert page.text("#error").startswith("notes.wav: this cannot be read as audio")
    assert page.one("#error").get_attribute("role") == "alert"
    assert page.text("#earlier") == (
        "Not of notes.wav, which could not be heard: all of this is still of a lick.wav."
    )
    page.shot("failed")
    page.give(tmp_path / "a lick.wav")
    assert not page.one("#earlier").is_displayed()
    assert not page.one("#error").is_displayed()
    complaints(page.driver)  # the browser itself notes every answer that is an error


def test_what_is_no_guitar_is_no_answer(page: Guitarist, tmp_path: Path) -> None:
    (tmp_path / "faint.wav").write_bytes(wav(0.05 * riff(RATE_HZ)))
    page.one("#file").send_keys(str(tmp_path / "faint.wav"))
    page.until(lambda: page.text("#sentence").startswith("This does not sound like a guitar"))
    page.until(lambda: page.status.startswith("This does not sound like a guitar"))
    assert page.text("#doubt") == f"If it is one after all: {' → '.join(page.board)}."
    assert {card.text for card in page.all(".card .sure")} <= {"a guess"}
    assert not page.one("#trust").is_displayed()  # there is no percentage to trust


def test_what_a_file_cannot_hold_is_said(page: Guitarist, tmp_path: Path) -> None:
    assert page.text("#missing") == ""
    (tmp_path / "low.wav").write_bytes(wav(riff(8_000), 8_000))
    page.one("#file").send_keys(str(tmp_path / "low.wav"))
    page.until(lambda: page.text("#missing").startswith("Missing from this file: all above 4 kHz"))


def test_nothing_is_wider_than_the_screen_and_no_arrow_leaves_its_panel(page: Guitarist) -> None:
    for _ in range(5):
        page.press("#add-button")
    outside = """
      return [...document.querySelectorAll(".card")].filter((card) =>
          ["::before", "::after"].some((at) => {
        const sign = getComputedStyle(card, at);
        const panel = card.closest("section").getBoundingClientRect();
        const left = card.getBoundingClientRect().left + card.clientLeft + parseFloat(sign.left);
        return left < panel.left || left + parseFloat(sign.width) > panel.right;
      })).length;
    """
    for width in (1440, 900, 768, 560, 360):
        resize(page.driver, width, 740)
        fits = "return document.documentElement.scrollWidth <= innerWidth"
        assert page.driver.execute_script(fits), width
        assert page.driver.execute_script(outside) == 0, width


def test_axe_finds_nothing(page: Guitarist) -> None:
    if not AXE:
        pytest.skip("axe-core is npm's: name its axe.min.js in FXTRAIN_AXE")
    page.driver.execute_script(Path(AXE).read_text(encoding="utf-8"))
    for theme in ("light", "dark"):
        page.theme(theme)
        for size in SIZES:
            resize(page.driver, *size)
            script = "axe.run().then(arguments[arguments.length - 1])"
            found = page.driver.execute_async_script(script)
            wrong = [
                (theme, size, rule["id"], node["target"], node["failureSummary"])
                for rule in found["violations"]
                for node in rule["nodes"]
            ]
            assert wrong == []
            assert len(found["passes"]) > 20
    page.theme("light")
    complaints(page.driver)  # axe sets styles of its own, which the page's policy forbids


def test_all_can_be_reached_by_the_tab_key(page: Guitarist) -> None:
    from selenium.webdriver import ActionChains, Keys

    count = "return document.querySelectorAll('button:enabled, input, select, a[href]').length"
    n = page.driver.execute_script(count)
    page.driver.execute_script("document.activeElement.blur(); scrollTo(0, 0)")
    reached = set()
    for _ in range(n + 2):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        element = page.driver.switch_to.active_element
        reached.add(element.id)
    assert len(reached) >= n

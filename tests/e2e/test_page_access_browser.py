"""The page for those who see it large, hear it, or press keys, in a real Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.audio import RATE_HZ, riff
from fixtures.browser import chromium, complaints, needs_chromium, resize
from fixtures.guitarist import SIZES, Guitarist
from fixtures.page import wav
from fxtrain.export.board import BASES

pytestmark = needs_chromium

NARROWEST = (320, 256)
"""1280 by 1024 at 400 %, as WCAG 2.2 has it (1.4.10)."""


@pytest.fixture(scope="module")
def large_type() -> Iterator[Any]:
    """The size that a browser's settings call the default, twice as large."""
    with chromium(more=["--blink-settings=defaultFontSize=32"]) as found:
        yield found


def opened(driver: Any, address: str, folder: Path) -> Guitarist:
    page = Guitarist(driver, address)
    (folder / "lick.wav").write_bytes(wav(riff(RATE_HZ)))
    page.give(folder / "lick.wav")
    return page


@pytest.fixture
def page(driver: Any, address: str, tmp_path: Path) -> Guitarist:
    return opened(driver, address, tmp_path)


def do(page: Guitarist, script: str) -> Any:
    return page.driver.execute_script(script)


CLEAR = "for (let it; (it = document.querySelector('.remove'));) it.click();"
COVERED = """
  const [swap, ...cards] = [".swap", ".card:first-child", ".card:last-child"]
    .map((css) => document.querySelector(css).getBoundingClientRect());
  return cards.filter((card) => swap.left < card.right && swap.right > card.left
    && swap.top < card.bottom && swap.bottom > card.top).length;
"""
OUTSIDE = """
  return [...document.querySelectorAll("button, .button, select")].filter((each) => {
    if (!each.checkVisibility()) return false;
    const panel = each.closest(each.matches(".swap") ? "section" : ".card, .drop, section");
    const [own, all] = [each, panel].map((e) => e.getBoundingClientRect());
    return own.left < all.left || own.right > all.right || each.scrollWidth > each.offsetWidth;
  }).map((each) => each.ariaLabel ?? each.textContent);
"""


@pytest.mark.parametrize("size", [*SIZES, NARROWEST])
def test_type_is_as_large_as_the_browser_is_set_to_and_all_of_it_is_there(
    large_type: Any, address: str, tmp_path: Path, size: tuple[int, int]
) -> None:
    page = opened(large_type, address, tmp_path)
    resize(page.driver, *size)
    assert do(page, "return getComputedStyle(document.body).fontSize") == "32px"
    assert do(page, "return document.documentElement.scrollWidth <= innerWidth")
    assert do(page, OUTSIDE) == []
    place = "scrollY + document.querySelector('#add').getBoundingClientRect().top"
    before = page.text("#basis")
    turn = "const knob = document.querySelector('.knob input'); knob.stepUp(3);"
    turn += f" knob.dispatchEvent(new Event('input')); window.was = {place};"
    page.rendering(lambda: do(page, turn))
    assert (before, page.text("#basis")) == (BASES["heard"], BASES["given"])
    assert do(page, f"return {place} - was") == 0
    add = "document.getElementById('add').value = '%s';"
    add += "document.getElementById('add-button').click();"
    page.rendering(lambda: do(page, CLEAR + add % "delay" + add % "reverb"))
    assert do(page, OUTSIDE) == []
    assert do(page, COVERED) == 0
    assert complaints(page.driver) == []


def test_there_is_room_for_each_of_the_lines_of_the_settings(page: Guitarist) -> None:
    room = do(page, "return { ...document.querySelector('.room').dataset }")
    assert room == {name: BASES[name] for name in ("heard", "typical")}
    assert len(BASES["given"]) < min(map(len, room.values()))


UNDER = """
  let at = document.activeElement;
  if (at === document.body) return "";
  if (at.type === "file") at = document.querySelector(`label.button[for=${at.id}]`);
  const [own, told] = [at, document.querySelector("#error")].map((e) => e.getBoundingClientRect());
  return own.bottom > told.top && own.top < told.bottom && own.right > told.left
    && own.left < told.right ? at.ariaLabel ?? (at.textContent || at.id) : "";
"""


@pytest.mark.parametrize("size", SIZES)
def test_the_keyboard_is_never_under_what_is_told(
    page: Guitarist, tmp_path: Path, size: tuple[int, int]
) -> None:
    from selenium.webdriver import ActionChains, Keys

    bad = tmp_path / "the second take of that long song.wav"
    bad.write_bytes(b"not a sound")
    page.one("#file").send_keys(str(bad))
    page.until(lambda: page.one("#error").is_displayed())
    resize(page.driver, *size)
    do(page, "document.activeElement.blur(); scrollTo(0, 0)")
    n = do(page, "return document.querySelectorAll('button:enabled, input, select, a').length")
    hidden = []
    for _ in range(n):
        ActionChains(page.driver).send_keys(Keys.TAB).perform()
        hidden.append(do(page, UNDER))
    assert set(hidden) == {""}
    complaints(page.driver)  # the browser itself notes every answer that is an error


WATCHED = """
  window.told = [];
  const status = document.querySelector("#status");
  new MutationObserver(() => window.told.push([
    status.textContent, Boolean(status.closest("[aria-busy=true]")),
  ])).observe(status, { childList: true });
"""


def test_what_is_busy_is_told(page: Guitarist, tmp_path: Path) -> None:
    """A screen reader tells nothing of what lies within something that is busy."""
    do(page, WATCHED)
    page.give(tmp_path / "lick.wav")
    page.rendering(lambda: page.press("#reset"))
    listening, heard, reset = do(page, "return told")
    assert listening == ["Listening …", False]
    assert heard == [f"Heard on lick.wav: {page.text('#sentence')}", False]
    assert reset == ["On the board: what was heard.", False]
    assert do(page, "return document.querySelector('[aria-busy]')") is None


def test_what_a_knob_does_is_seen_without_a_mouse(page: Guitarist) -> None:
    from selenium.webdriver import ActionChains, Keys

    told = page.status
    do(page, "document.querySelector('.knob input').focus()")
    ActionChains(page.driver).send_keys(Keys.TAB).perform()
    knob = page.driver.switch_to.active_element
    label = page.text(".knob:nth-child(2) span")
    assert page.text("#brief") == f"{label}: {knob.get_attribute('title')}"
    assert page.status == told  # a screen reader has it from the knob


def test_where_a_pedal_will_stand_is_seen_in_forced_colours(page: Guitarist) -> None:
    forced = {"features": [{"name": "forced-colors", "value": "active"}]}
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", forced)
    style = "return getComputedStyle(document.querySelector('.card')).outlineStyle"
    assert do(page, style) == "none"
    do(page, "document.querySelector('.card').classList.add('before')")
    assert do(page, style) == "solid"
    page.theme("light")


def test_two_pedals_of_one_name_are_told_apart_by_ear(page: Guitarist) -> None:
    add = "document.getElementById('add').value = 'fuzz';"
    add += "document.getElementById('add-button').click();"
    names = """
      const found = [...document.querySelectorAll(".card button, .card input")];
      return found.map((each) => each.ariaLabel);
    """
    page.rendering(lambda: do(page, CLEAR + add))
    assert "Remove fuzz" in do(page, names)
    page.rendering(lambda: do(page, add))
    found = do(page, names)
    assert len(found) == len(set(found))
    assert {"Remove fuzz (pedal 1)", "Bypass fuzz (pedal 2)", "fuzz (pedal 2) tone"} <= set(found)

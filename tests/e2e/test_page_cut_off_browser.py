"""Both pages where not all of them came, without scripts, when their program ends and is back, and
with another tab of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fixtures.audio import RATE_HZ, riff
from fixtures.browser import chromium, complaints, needs_chromium, resize, served
from fixtures.guitarist import SIZES, Guitarist
from fixtures.models import random_run
from fixtures.page import page_served, wav
from fixtures.studies import small_study

pytestmark = needs_chromium

WAIT_S = 30
NOT_ALL = "Not all of this page has come: load it again. If that does not help, "
GONE = "The program behind this page does not answer."
NO_SCRIPTS = "allow it for this address in the browser's settings, then load the page again."


def until(driver: Any, css: str, text: str) -> str:
    """All that is seen, once ``text`` is told in ``css``."""
    from selenium.webdriver.support.ui import WebDriverWait

    def seen(driver: Any) -> bool:
        return any(text in found.text for found in driver.find_elements("css selector", css))

    WebDriverWait(driver, WAIT_S, 0.05).until(seen, f"{text!r} in {css}")
    return str(driver.find_element("css selector", "body").text)


@pytest.fixture(scope="module")
def study_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("study")
    small_study(folder, "abx", n_items=1, trials=2, repeats=1, catches=0)
    with served("fxtrain", "listen", "serve", folder) as (found, _):
        yield found


@pytest.fixture
def blocked(driver: Any) -> Iterator[Any]:
    """``blocked(url)``: what is asked for there does not come."""
    driver.execute_cdp_cmd("Network.enable", {})

    def block(*urls: str) -> None:
        driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": urls})

    yield block
    block()
    complaints(driver)  # the browser itself notes what did not come


@pytest.mark.parametrize("script", ["/page/app.js", "/page/heard.js", "/shared/lockstep.js"])
def test_a_guitarists_page_of_which_a_script_is_missing_says_what_to_do(
    driver: Any, address: str, blocked: Any, script: str
) -> None:
    """It stood at "Getting ready …", and every button did nothing."""
    blocked(f"*{script}")
    resize(driver, *SIZES[1])
    driver.get(address)
    assert not driver.find_element("css selector", "#example").is_enabled()
    seen = until(driver, "#late", f"{NOT_ALL}start the program again (fxtrain serve).")
    assert "Getting ready" not in seen
    assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    blocked()
    Guitarist(driver, address)
    assert driver.find_elements("css selector", "#late") == []


@pytest.mark.parametrize("script", ["/page/listen.js", "/shared/lockstep.js"])
def test_a_listening_test_of_which_a_script_is_missing_says_what_to_do(
    driver: Any, study_page: str, blocked: Any, script: str
) -> None:
    blocked(f"*{script}")
    driver.get(study_page)
    seen = until(driver, "main", f"{NOT_ALL}the program behind it (fxtrain listen serve) has to")
    assert "Loading" not in seen
    blocked()
    driver.get(study_page)
    assert NOT_ALL not in until(driver, "#start", "Start")


def test_without_scripts_each_page_says_that_it_needs_them(address: str, study_page: str) -> None:
    with chromium(more=["--blink-settings=scriptEnabled=false"]) as plain:
        for url, title in ((address, "Which pedals"), (study_page, "Listening test")):
            plain.get(url)
            assert title in until(plain, "noscript", NO_SCRIPTS)
            paint = plain.find_element("css selector", ".late, #late").value_of_css_property
            assert paint("display") == "none"
            for told in ("#brief", "#status", "main > p"):
                found = plain.find_elements("css selector", told)
                assert [each.text for each in found if each.text] == []


PRESSES = (
    "#file", "#example", "#dry-file", "#add-button", "#reset", "#alternatives button",
    ".card .remove", ".card [aria-pressed]", "#play", "#hear-b", "#hear-a", "[data-format=svg]",
)  # fmt: skip


def press(page: Guitarist, css: str, clip: Path) -> None:
    if css in ("#file", "#dry-file"):
        page.one(css).send_keys(str(clip))
    else:
        page.press(css)


def test_every_button_tells_that_the_program_has_ended_and_works_when_it_is_back(
    driver: Any, tmp_path: Path
) -> None:
    run, clip = random_run(tmp_path / "run", hear_knobs=True), tmp_path / "lick.wav"
    clip.write_bytes(wav(riff(RATE_HZ)))
    with page_served(run) as address:
        page = Guitarist(driver, address)
        page.give(clip)
    for css in PRESSES:
        driver.execute_script("document.querySelector('#error').textContent = ''")
        press(page, css, clip)
        page.until(lambda: GONE in page.text("#error"))
        assert page.text("#error").count("\n") == 0
    with page_served(run, port=int(address.rstrip("/").rsplit(":", 1)[1])):
        for css in (".card [aria-pressed]", "[data-format=svg]"):
            driver.execute_script("document.querySelector('#error').textContent = ''")
            press(page, css, clip)
            page.until(lambda: page.text("#error").endswith("no longer here; give it again."))
        page.give(clip)
        page.rendering(lambda: page.press(".card [aria-pressed]"))
        page.press("[data-format=svg]")
        page.until(lambda: page.status == "Saved board.svg.")
        page.press("#example")
        page.until(lambda: page.status.startswith("Heard on the built-in example"))
    complaints(driver)  # the browser itself notes what did not come


ANSWER = """
  const told = arguments[0];
  (async () => {
    const { trial } = await (await fetch("/api/state")).json();
    const plays = Object.fromEntries(trial.slots.map((slot) => [slot, 1]));
    const body = { trial: trial.number, answer: { choice: "a" }, plays, rt_ms: 1 };
    const headers = { "Content-Type": "application/json" };
    const sent = { method: "POST", headers, body: JSON.stringify(body) };
    told((await fetch("/api/answer", sent)).status);
  })();
"""


def test_a_listening_test_goes_on_where_another_tab_of_it_is(driver: Any, study_page: str) -> None:
    """It asked for the sounds of the trial before for ever."""
    driver.get(study_page)
    driver.delete_all_cookies()
    driver.get(study_page)

    def click(css: str, text: str = "") -> None:
        until(driver, css, text)
        driver.find_element("css selector", css).click()

    click("label[for=device-headphones]")
    click("#start")
    until(driver, "#next", "The volume is right")
    assert driver.execute_async_script(ANSWER) == 200  # as the other tab does
    click("#next")
    click("#retry", "Try again")
    until(driver, "#count", "Trial 2 of ")
    until(driver, "#hear-x", "X")
    assert driver.find_element("css selector", "#status").text == ""
    complaints(driver)

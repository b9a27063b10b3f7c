"""A listening test taken in a real Chromium, by clicks and keys, from welcome to thanks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fixtures.browser import chromium, complaints, needs_chromium, requested, resize, served
from fixtures.studies import small_study
from fxtrain.listen.store import Store
from fxtrain.listen.study import ANSWERS_NAME, QUESTION, Study

pytestmark = needs_chromium
SHOTS = os.environ.get("FXTRAIN_SHOTS", "")
"""A folder for screenshots, to be looked at."""

AXE = os.environ.get("FXTRAIN_AXE", "")
"""The axe.min.js of npm's axe-core."""

WAIT_S = 20


class Listener:
    """Hands on the page."""

    def __init__(self, driver: Any, address: str) -> None:
        self.driver = driver
        resize(driver, 1200, 900)
        driver.get(address)

    def find(self, css: str) -> Any:
        """The element, once it is there and enabled."""
        from selenium.webdriver.support.ui import WebDriverWait

        def ready(driver: Any) -> Any:
            found = driver.find_elements("css selector", css)
            return found[0] if found and found[0].is_enabled() else None

        return WebDriverWait(self.driver, WAIT_S, 0.05).until(ready, css)

    def press(self, css: str) -> None:
        """As a finger would: what lies under another element cannot be pressed."""
        self.find(css).click()

    def text(self) -> str:
        return str(self.driver.find_element("css selector", "body").text)

    def axe(self) -> None:
        """No violation in either theme, where axe-core is at hand."""
        if not AXE:
            return
        self.driver.execute_script(Path(AXE).read_text(encoding="utf-8"))
        for theme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": theme}
            self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            found = self.driver.execute_async_script("axe.run().then(arguments[0])")
            wrong = [
                (rule["id"], node["html"]) for rule in found["violations"] for node in rule["nodes"]
            ]
            assert wrong == []
            assert len(found["passes"]) > 10
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        complaints(self.driver)  # axe sets styles of its own, which the page's policy forbids

    def shot(self, name: str) -> None:
        if not SHOTS:
            return
        for width, height in ((1200, 900), (360, 740)):
            resize(self.driver, width, height)
            full = self.driver.execute_script("return document.documentElement.scrollHeight")
            resize(self.driver, width, max(height, full))
            self.driver.save_screenshot(f"{SHOTS}/{name}-{width}.png")
        resize(self.driver, 1200, 900)

    def fits(self, width: int = 360) -> bool:
        """Nothing sticks out to the side at this width."""
        resize(self.driver, width, 740)
        wide = self.driver.execute_script("return document.documentElement.scrollWidth")
        resize(self.driver, 1200, 900)
        return bool(wide <= width)

    def begin(self) -> None:
        self.press("label[for=device-headphones]")
        self.press("#start")
        self.press("#play")
        self.press("#next")

    def slots(self) -> list[str]:
        self.find(".sound")
        buttons = self.driver.find_elements("css selector", ".sound")
        return [b.get_attribute("id").removeprefix("hear-") for b in buttons]

    def trial_number(self) -> str:
        return str(self.driver.find_element("css selector", "#count").text)

    def next_trial(self) -> None:
        """Press Next and wait until the page has moved on."""
        from selenium.webdriver.support.ui import WebDriverWait

        before = self.trial_number()
        self.press("#next")
        WebDriverWait(self.driver, WAIT_S, 0.05).until(lambda _: self.trial_number() != before)

    def set_slider(self, css: str, value: int) -> None:
        self.driver.execute_script(
            "arguments[0].value = arguments[1];"
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))",
            self.find(css),
            value,
        )


def answers(folder: Path, study: Study) -> list[Any]:
    (session,) = Store(folder / ANSWERS_NAME, study).sessions()
    return [asked.answer for asked in session.trials]


def test_abx_by_keys_with_a_break_in_the_middle(driver: Any, tmp_path: Path) -> None:
    study = small_study(tmp_path, "abx", n_items=2, trials=2, repeats=1, catches=1)
    with served("fxtrain", "listen", "serve", tmp_path) as (address, process):
        requested(driver)
        page = Listener(driver, address)
        assert "How do you listen?" in page.find("fieldset").text
        page.shot("abx-welcome")
        page.axe()
        page.press("#start")
        assert "Say how you listen" in page.find("#status").text
        page.press("label[for=device-headphones]")
        page.press("#start")
        page.find("#volume")
        page.shot("abx-volume")
        page.axe()
        page.press("#next")

        assert page.slots() == ["a", "b", "x"]
        assert page.find("h1").text == QUESTION["abx"]
        assert "does not count" in page.find("#practice").text
        assert not driver.find_element("css selector", "#next").is_enabled()
        assert page.find("#why").text == "Listen to A, B, X first."
        page.press("#letters")
        driver.find_element("css selector", "body").send_keys("a")
        assert driver.find_elements("css selector", ".sound[aria-pressed=true]") == []
        driver.find_element("css selector", "#letters").send_keys(" ")  # the box, not the pause
        body = driver.find_element("css selector", "body")
        for key in "abx":
            body.send_keys(key)
        pressed = driver.find_elements("css selector", ".sound[aria-pressed=true]")
        assert [b.text for b in pressed] == ["X"]
        assert not driver.find_element("css selector", "#next").is_enabled()
        assert page.find("#why").text == "Choose A or B."
        page.press("label[for=pick-a]")
        assert driver.find_element("css selector", "#why").text == ""
        driver.switch_to.active_element.send_keys(" ")  # on the answer that is chosen already
        assert page.find("#pause").text == "Play"
        page.shot("abx-trial")
        page.axe()
        assert page.fits()
        page.next_trial()
        assert page.find("#feedback").text.startswith(("Right.", "Not this time."))

        driver.get(address)  # a break: the page is closed and opened again
        assert "Welcome back" in page.find("h1").text
        page.press("#start")
        page.press("#next")
        for _ in range(3):
            assert page.slots() == ["a", "b", "x"]
            for slot in page.slots():
                page.press(f"#hear-{slot}")
            page.press("label[for=pick-b]")
            if page.trial_number() == "Trial 4 of 4":
                page.press("#next")
            else:
                page.next_trial()
        assert "kept" in page.find("#done").text
        page.shot("abx-done")
        urls = requested(driver)
        assert [url for url in urls if not url.startswith((address, "data:"))] == []
        assert not any(sound in url for url in urls for sound in study.sounds)
        assert complaints(driver) == []
        assert process.stderr is not None
        process.send_signal(2)
        assert "1 session finished" in process.stderr.read()
    assert answers(tmp_path, study) == [{"choice": "a"}] + [{"choice": "b"}] * 3


def assert_loops_and_pauses(page: Listener) -> None:
    """A part is looped, in lock step with nothing else; a pause keeps the place."""
    from selenium.webdriver.support.ui import WebDriverWait

    def position() -> float:
        return float(page.driver.execute_script("return fxlisten.player.position()"))

    page.press("summary")
    for css, value in (("#loop-from", 0.4), ("#loop-to", 0.5)):
        page.driver.execute_script(
            "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change'))",
            page.find(css),
            value,
        )
    assert page.driver.execute_script("return fxlisten.player.region") == [0.4, 0.9]
    ends = [page.find(css) for css in ("#loop-from", "#loop-to")]
    assert [end.accessible_name for end in ends] == ["Loop from", "Loop to"]
    assert [end.get_attribute("aria-valuetext") for end in ends] == ["0.4 s", "0.9 s"]
    # An <output> is a live region: each step of a slider would be spoken twice.
    assert page.driver.find_elements("css selector", "output:not([aria-hidden=true])") == []
    before = page.driver.execute_script("return fxlisten.context.currentTime")
    WebDriverWait(page.driver, WAIT_S, 0.05).until(
        lambda driver: driver.execute_script("return fxlisten.context.currentTime") > before + 0.6
    )
    assert 0.4 <= position() < 0.9
    page.press("#pause")
    assert page.find("#pause").text == "Play"
    place = position()
    assert 0.4 <= place < 0.9
    page.press("#hear-2")
    assert page.driver.execute_script("return fxlisten.player.startedFrom") == place
    rate = page.driver.execute_script("return fxlisten.context.sampleRate")
    assert rate == 44_100


def test_mushra_by_mouse(driver: Any, tmp_path: Path) -> None:
    study = small_study(tmp_path, "mushra", n_items=1, trials=1, standard="bs1534")
    driver.delete_all_cookies()
    with served("fxtrain", "listen", "serve", tmp_path) as (address, _):
        page = Listener(driver, address)
        driver.delete_all_cookies()
        driver.get(address)
        page.begin()
        for trial in range(2):
            slots = page.slots()
            assert slots == ["reference", *map(str, range(1, 8))]
            assert page.find("h1").text == QUESTION["mushra"]
            assert "from bad (far off) to excellent (the same)" in page.text()
            assert not driver.find_element("css selector", "#rate-1").is_enabled()
            for slot in slots:
                page.press(f"#hear-{slot}")
            for slot in slots[1:]:
                page.set_slider(f"#rate-{slot}", 10 * int(slot) + trial)
            if not trial:
                assert_loops_and_pauses(page)
            page.shot(f"mushra-{trial}")
            page.axe()
            assert page.fits()
            if trial:
                page.press("#next")
            else:
                page.next_trial()
        page.find("#done")
        assert complaints(driver) == []
    expected = {"ratings": {str(i): 10 * i + 1 for i in range(1, 8)}}
    assert answers(tmp_path, study)[1] == expected


def test_pairwise_by_mouse(driver: Any, tmp_path: Path) -> None:
    study = small_study(tmp_path, "pairwise", n_items=1, trials=1)
    with served("fxtrain", "listen", "serve", tmp_path) as (address, _):
        page = Listener(driver, address)
        driver.delete_all_cookies()
        driver.get(address)
        page.begin()
        for number in range(3):
            assert page.slots() == ["reference", "a", "b"]
            for slot in page.slots():
                page.press(f"#hear-{slot}")
            page.press("label[for=pick-a]")
            page.shot("pairwise")
            page.press("#next") if number == 2 else page.next_trial()
        page.find("#done")
        assert complaints(driver) == []
    assert answers(tmp_path, study) == [{"choice": "a"}] * 3


SWITCH = """
const done = arguments[arguments.length - 1];
import('/shared/lockstep.js').then(async ({ LockStep }) => {
  const rate = 44100, n = rate;
  const context = new OfflineAudioContext(1, 2 * n, rate);
  const ramp = (sign) => {
    const buffer = new AudioBuffer({ length: n, sampleRate: rate });
    const data = buffer.getChannelData(0);
    for (let i = 0; i < n; i++) data[i] = sign * (0.25 + 0.25 * i / n);
    return buffer;
  };
  const step = new LockStep(context, [ramp(1), ramp(-1)]);
  step.play(0);
  const at = 64 * 128 / rate;  // a switch is heard from the next block on: take its first sample
  step.switchTo(1, at);
  const out = Array.from((await context.startRendering()).getChannelData(0));
  let largest = 0;
  for (let i = 1; i < n; i++) largest = Math.max(largest, Math.abs(out[i] - out[i - 1]));
  done(JSON.stringify({ before: out[4000], switched: 64 * 128, ramp: Math.round(0.005 * rate),
    largest, first: out[8192], last: out[8192 + 221], after: out[20000], looped: out[n + 20000] }));
}).catch((error) => done(JSON.stringify({ error: String(error) })));
"""


def test_switching_has_no_click_and_no_slip(driver: Any, tmp_path: Path) -> None:
    small_study(tmp_path, "abx", n_items=1, trials=1, repeats=1, catches=0)
    with served("fxtrain", "listen", "serve", tmp_path) as (address, _):
        driver.get(address)
        found = json.loads(driver.execute_async_script(SWITCH))
    sound = lambda i: 0.25 + 0.25 * i / 44_100  # noqa: E731
    assert found["before"] == pytest.approx(sound(4000), abs=1e-4)
    assert found["after"] == pytest.approx(-sound(20_000), abs=1e-4)
    assert found["looped"] == pytest.approx(found["after"], abs=1e-6)
    assert found["first"] == pytest.approx(sound(8192), abs=0.01)
    assert found["last"] == pytest.approx(-sound(8192 + 221), abs=0.01)
    # From one to the other in 5 ms: no sample moves further than a straight line would.
    assert found["largest"] < 1.2 * 2 * 0.5 / found["ramp"]


def test_a_slow_line_and_a_hasty_hand(driver: Any, tmp_path: Path) -> None:
    """Two presses are one; what does not come can be asked for again, and no answer is lost."""
    study = small_study(tmp_path, "abx", n_items=1, trials=1, repeats=1, catches=0)
    lose = """
      const real = window.fetch;
      window.lost = "";
      window.fetch = async (url, ...more) => {
        if (!window.lost || !url.startsWith(window.lost)) return real(url, ...more);
        window.lost = "";
        for (const _ of "two") await new Promise(requestAnimationFrame);
        throw new TypeError("Failed to fetch");
      };
    """
    with served("fxtrain", "listen", "serve", tmp_path) as (address, _):
        driver.get(address)
        driver.delete_all_cookies()
        page = Listener(driver, address)
        page.press("label[for=device-headphones]")
        driver.execute_script(lose)
        driver.execute_script(2 * "document.getElementById('start').click();")
        page.press("#next")
        for slot in page.slots():
            page.press(f"#hear-{slot}")
        page.press("label[for=pick-a]")
        driver.execute_script("lost = '/api/answer'")
        page.find("#next").send_keys("\ue007")
        assert page.find("#status:not(:empty)").text.startswith("The server does not answer.")
        assert driver.switch_to.active_element.get_attribute("id") == "next"
        driver.execute_script("lost = '/sound/'")
        page.press("#next")
        page.find("#retry")
        driver.find_element("css selector", "body").send_keys("a")
        assert not driver.execute_script("return fxlisten.player.playing")  # of the trial before
        page.press("#retry")
        assert page.slots() == ["a", "b", "x"]
        assert page.find("#feedback").text.startswith(("Right.", "Not this time."))
        assert page.find("#status").text == ""
        complaints(driver)
    assert answers(tmp_path, study) == [{"choice": "a"}, None]


def slow_press(page: Listener, url: str, button: str, under_way: str) -> None:
    """Two presses, of which one counts; what is under way is said, and not as an error."""
    page.driver.execute_script("held = arguments[0]; n = 0", url)
    page.driver.execute_script(2 * f"document.querySelector('{button}').click();")
    assert page.find("#status:not(:empty)").text == under_way
    assert "wrong" not in page.find("#status").get_attribute("class")
    assert page.driver.execute_script("letGo(); held = ''; return n") == 1


def test_a_page_whose_first_answer_is_lost_or_slow_says_so(driver: Any, tmp_path: Path) -> None:
    """It stood at "Loading …" until it was loaded again."""
    study = small_study(tmp_path, "abx", n_items=1, trials=1, repeats=1, catches=0)
    lose = """
      const real = window.fetch;
      Object.assign(window, { lost: "/api/state", held: "", n: 0 });
      window.fetch = async (url, ...more) => {
        if (url === window.lost) {
          window.lost = "";
          return new Response("<p>no gateway</p>", { status: 502 });
        }
        window.n += url === window.held;
        if (url === window.held) await new Promise((done) => { window.letGo = done; });
        return real(url, ...more);
      };
    """
    at_first = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": lose})
    try:
        with served("fxtrain", "listen", "serve", tmp_path) as (address, _):
            driver.get(address)
            driver.delete_all_cookies()
            page = Listener(driver, address)
            page.find("#retry")
            assert page.find("#status").text.startswith("The server does not answer.")
            page.press("#retry")
            page.press("label[for=device-headphones]")
            assert page.find("#status").text == ""
            slow_press(page, "/api/start", "#start", "One moment …")
            page.press("#next")
            for slot in page.slots():
                page.press(f"#hear-{slot}")
            page.press("label[for=pick-a]")
            slow_press(page, "/api/answer", "#next", "Saving your answer …")
            page.find("#feedback")
            assert page.find("#status").text == ""
            complaints(driver)
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", at_first)
    assert answers(tmp_path, study) == [{"choice": "a"}, None]


def test_large_type_forced_colours_and_a_narrow_page(tmp_path: Path) -> None:
    """Nothing sticks out, what is chosen is seen, and the letters can be turned off at 400 %."""
    small_study(tmp_path / "mushra", "mushra", n_items=1, trials=1, standard="bs1534")
    small_study(tmp_path / "abx", "abx", n_items=1, trials=1, repeats=1, catches=0)
    with chromium(more=["--blink-settings=defaultFontSize=32"]) as large:
        for kind in ("mushra", "abx"):
            with served("fxtrain", "listen", "serve", tmp_path / kind) as (address, _):
                page = Listener(large, address)
                page.find("#start")
                assert page.fits(320)
                page.begin()
                slots = page.slots()
                assert page.fits(320)
                resize(large, 320, 256)
                assert page.find("#letters").is_displayed()
                for slot in slots:
                    page.press(f"#hear-{slot}")
        page.press("label[for=pick-a]")
        forced = {"features": [{"name": "forced-colors", "value": "active"}]}
        large.execute_cdp_cmd("Emulation.setEmulatedMedia", forced)
        paint = "return getComputedStyle(document.querySelector(arguments[0])).backgroundColor"
        for chosen, other in (
            ("label[for=pick-a]", "label[for=pick-b]"),
            ("#hear-x", "#hear-a"),
            (".where div", ".where"),
        ):
            assert large.execute_script(paint, chosen) != large.execute_script(paint, other)
        assert complaints(large) == []

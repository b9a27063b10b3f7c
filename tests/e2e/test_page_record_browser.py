"""The page's microphone, and files that only the browser reads, in a real Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from fixtures.browser import chromium, complaints, needs_chromium, resize
from fixtures.guitarist import SIZES, Guitarist
from fixtures.models import random_run
from fixtures.page import page_served
from fxtrain.app.limits import Limits

pytestmark = needs_chromium

LONGEST_S = 3
WATCHED = """
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.streams = [];
  navigator.mediaDevices.getUserMedia = async (what) => {
    window.streams.push(await ask(what));
    return window.streams.at(-1);
  };
"""
GIVE_WEBM = """
  const [seconds, told] = arguments;
  navigator.mediaDevices.getUserMedia({ audio: true }).then((stream) => {
    const recorder = new MediaRecorder(stream), parts = [];
    recorder.addEventListener("dataavailable", (event) => parts.push(event.data));
    recorder.addEventListener("stop", () => {
      const transfer = new DataTransfer();
      transfer.items.add(new File(parts, "phone.webm"));
      document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, cancelable: true }));
      told();
    });
    recorder.start();
    setTimeout(() => recorder.stop(), 1000 * seconds);
  });
"""


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    microphone = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
    with chromium(more=microphone) as found:
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    run = random_run(tmp_path_factory.mktemp("record") / "run")
    with page_served(run, Limits(n_bytes=250_000, seconds=LONGEST_S)) as found:
        yield found


@pytest.fixture
def page(driver: Any, address: str) -> Iterator[Guitarist]:
    found = Guitarist(driver, address)
    driver.execute_script(WATCHED)
    yield found
    complaints(driver)  # the browser itself notes every answer that is an error


def test_the_microphone_is_heard(page: Guitarist) -> None:
    from selenium.webdriver import ActionChains

    resize(page.driver, *SIZES[1])
    where = page.one("#example").rect
    page.press("#record")
    page.until(lambda: page.status == "Recording …")
    assert page.one("#example").rect == where  # not under the hand that presses "Stop" twice
    time.sleep(1.2)  # as long as the recording is to be
    ActionChains(page.driver).double_click(page.one("#record")).perform()
    page.until(lambda: page.status.startswith("Heard"))
    assert page.text("#record") == "Record"
    assert page.driver.execute_script("return streams.length") == 1


def test_a_recording_ends_before_it_is_too_long(page: Guitarist) -> None:
    page.press("#record")
    page.until(lambda: page.text("#record") == "Stop recording")
    page.until(lambda: page.status.startswith("Heard on recording"))
    assert page.text("#record") == "Record"


def test_what_came_before_the_input_was_unplugged_is_heard(page: Guitarist) -> None:
    page.press("#record")
    page.until(lambda: page.text("#record") == "Stop recording")
    unplug = "setTimeout(() => { streams[0].getTracks()[0].stop(); arguments[0](); }, 1000)"
    page.driver.execute_async_script(unplug)
    page.press("#record")
    page.until(lambda: page.status.startswith("Heard on recording") or page.text("#error"))
    assert page.text("#error") == ""


def test_two_clicks_begin_one_recording(page: Guitarist) -> None:
    click = "document.getElementById('record').click();"
    page.driver.execute_script(click * 2)
    page.until(lambda: page.text("#record") == "Stop recording")
    assert page.driver.execute_script("return streams.length") == 1


def test_a_recording_of_nothing_is_told(page: Guitarist) -> None:
    empty = "MediaRecorder.prototype.addEventListener = function (kind, act) {"
    empty += " if (kind === 'stop') EventTarget.prototype.addEventListener.call(this, kind, act); }"
    page.driver.execute_script(empty)
    page.press("#record")
    page.until(lambda: page.text("#record") == "Stop recording")
    page.one("#record").send_keys(" ")
    page.until(lambda: page.text("#error"))
    assert page.text("#error").startswith("Nothing was recorded.")


def test_what_only_the_browser_reads_is_heard_unless_it_is_too_long(page: Guitarist) -> None:
    page.driver.execute_async_script(GIVE_WEBM, 1)
    page.until(lambda: page.status.startswith("Heard on phone.webm"))
    page.driver.execute_async_script(GIVE_WEBM, LONGEST_S + 0.5)
    page.until(lambda: page.text("#error"))
    assert page.text("#error").startswith("phone.webm: This is 3.")
    assert page.text("#error").endswith("Cut out the part with the guitar.")

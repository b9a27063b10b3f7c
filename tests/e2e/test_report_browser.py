"""The page of an evaluation in a real Chromium: complete by itself, at both widths and themes.

FXTRAIN_SHOTS names a folder for screenshots.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from fixtures.browser import chromium, complaints, needs_chromium, requested, resize
from fixtures.frontends import ToyFrontend
from fixtures.shards import make_shards
from fxpipe.frontend import open_frontend
from fxtrain.checkpoint import card_of, load_run, new_model, save_model
from fxtrain.config import ModelConfig
from fxtrain.data import open_shards
from fxtrain.evaluate import answer, by_ear
from fxtrain.judging import judge
from fxtrain.models import resolve_model
from fxtrain.report import write_page
from fxtrain.sounds import Sounds

PEDALS = ("compressor", "wah", "overdrive", "distortion", "fuzz", "phaser", "chorus", "tremolo")
PEDALS = (*PEDALS, "delay", "reverb")

SHOTS = os.environ.get("FXTRAIN_SHOTS", "")
HEIGHT = "return document.documentElement.scrollHeight"

OPEN = "for (const more of document.querySelectorAll('details')) more.open = true"

HEAR_ALL = """
const done = arguments[0];
Promise.all([...document.querySelectorAll("audio")].map((player) => new Promise((tell) => {
  player.onloadedmetadata = () => tell(player.duration);
  player.onerror = () => tell(-1);
  player.preload = "auto";
  player.load();
}))).then(done);
"""
PLAY_TWO = """
const done = arguments[0];
const [one, two] = document.querySelectorAll("audio");
one.loop = two.loop = true;
one.play().then(() => two.play()).then(() => done([one.paused, two.paused]), String);
"""

PALE = """
const paint = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const rgba = (colour) => {
  paint.clearRect(0, 0, 1, 1);
  paint.fillStyle = colour;
  paint.fillRect(0, 0, 1, 1);
  return [...paint.getImageData(0, 0, 1, 1).data];
};
const linear = (c) => c <= 10 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4;
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
const behind = (element) => {
  const colour = rgba(getComputedStyle(element).backgroundColor);
  return colour[3] === 255 ? colour : behind(element.parentElement);
};
const found = [];
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
  const element = words.currentNode.parentElement;
  const text = words.currentNode.textContent.trim();
  if (!text || element.tagName === "SCRIPT") continue;
  const style = getComputedStyle(element);
  const ink = rgba(element.closest("svg") ? style.fill : style.color);
  const [more, less] = [light(ink), light(behind(element))].sort((a, b) => b - a);
  if ((more + 0.05) / (less + 0.05) < 4.5) found.push(`${element.className}: ${text}`);
}
return found;
"""
"""Text with less contrast than 4.5 to 1 (WCAG 2.2, success criterion 1.4.3)."""

SMALL = """
const found = [];
const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
  const element = words.currentNode.parentElement;
  const text = words.currentNode.textContent.trim();
  if (!text || element.tagName === "SCRIPT" || !element.getClientRects().length) continue;
  const size = parseFloat(getComputedStyle(element).fontSize);
  const drawn = element.closest("svg") ? element.getScreenCTM() : { a: 1, b: 0 };
  const scale = Math.hypot(drawn.a, drawn.b); // of a label that stands upright too
  if (size * scale < 12 && element.tagName !== "title")
    found.push(`${(size * scale).toFixed(1)}: ${text}`);
}
return found;
"""
"""Text that is drawn smaller than 12 px."""

COVERED = """
const over = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
return [...document.querySelectorAll("svg.plot")].flatMap((plot) => {
  const words = [...plot.querySelectorAll("text")].map((text) => [text.textContent, text]);
  const marks = [...plot.querySelectorAll("circle, .whisker, text")];
  return words.flatMap(([word, text]) => marks
    .filter((mark) => mark !== text
      && over(text.getBoundingClientRect(), mark.getBoundingClientRect()))
    .map((mark) => `${word} under ${mark.textContent || mark.tagName}`));
});
"""
"""Labels of a drawing that something else is drawn over."""

SHADES = """
document.querySelectorAll(".heat tbody td").forEach((cell, i) => {
  const share = i % 101;
  cell.className = (share >= 74 ? " p74" : "") + (share >= 85 ? " p85" : "");
  cell.style.setProperty("--share", `${share}%`);
  cell.textContent = share;
});
"""
"""Every share there can be, as the template would write it."""


CUT = """
return [...document.querySelectorAll(".scroll")]
  .filter((box) => box.scrollWidth > box.clientWidth)
  .map((box) => box.getAttribute("aria-label"));
"""
"""Tables that paper would cut: nobody can scroll there."""


class Sounding(ToyFrontend):
    """Toy pedals, true FLAC: half a second for each sound."""

    def flac(self, wave: np.ndarray, sample_rate_hz: int) -> tuple[bytes, float]:
        return open_frontend().flac(np.resize(wave, 4_000), sample_rate_hz)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page")
    make_shards(path / "shards", n_train=8, n_valid=4, n_test=60, pedals=PEDALS, max_chain_length=5)
    dataset = open_shards(path / "shards")
    config = ModelConfig(kind="gru", d_model=32, n_heads=2)
    torch.manual_seed(0)
    card = card_of(dataset.index, resolve_model(config, n_codebooks=4, has_mel=False), {})
    save_model(path / "run", card, new_model(card, torch.randn(4, 64, 8)))
    write_log(path / "run")
    run = load_run(path / "run")
    answers = answer(run, dataset)
    sounds = Sounds(dataset, "test")
    sounds.__dict__["frontend"] = Sounding()
    evaluation = by_ear(
        answers, judge(run, dataset.index.identity, answers), sounds, 4, 0, lambda text: None
    )
    return write_page(run, dataset, answers, evaluation, sounds)


def write_log(run: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run / "tensorboard")) as writer:
        for epoch in range(120):
            writer.add_scalar("epoch", epoch, epoch)
            for tag in ("valid/loss", "train/loss", "valid/set", "valid/f1"):
                writer.add_scalar(tag, 1.5 / (1 + epoch), epoch)


@needs_chromium
@pytest.mark.parametrize("dark", [False, True])
def test_the_page_stands_alone_and_fits(page: Path, dark: bool) -> None:
    with chromium(dark=dark) as driver:
        for width in (360, 390, 1280):
            resize(driver, width, 900)
            driver.get(page.as_uri())
            wide = driver.execute_script("return document.documentElement.scrollWidth")
            assert wide <= width, f"{wide} px wide on a screen of {width}"
            driver.execute_script(OPEN)
            assert driver.execute_script(SMALL) == []
            covered = driver.execute_script(COVERED)
            assert covered == [], "\n".join(covered)
            if SHOTS:
                resize(driver, width, driver.execute_script(HEIGHT))
                name = f"report-{width}-{'dark' if dark else 'light'}.png"
                driver.save_screenshot(f"{SHOTS}/{name}")
        ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, ground.strip("rgb()").split(","))) < 3 * 128) == dark
        assert driver.execute_script(PALE) == []
        driver.execute_script(SHADES)
        assert driver.execute_script(PALE) == []
        durations = driver.execute_async_script(HEAR_ALL)
        assert durations
        assert all(duration == pytest.approx(0.5, abs=0.05) for duration in durations)
        assert driver.execute_async_script(PLAY_TWO) == [True, False]
        panels = driver.find_elements("css selector", ".panel")
        assert [panel.is_displayed() for panel in panels].count(True) == 1
        driver.find_element("css selector", "#position-1").send_keys("\ue014")  # arrow right
        assert [panel.is_displayed() for panel in panels].index(True) == 1
        asked = [url for url in requested(driver) if not url.startswith("data:")]
        assert set(asked) == {page.as_uri()}
        assert complaints(driver) == []


@needs_chromium
def test_paper_holds_whole_tables_and_their_colours(page: Path) -> None:
    with chromium() as driver:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
        for width in (640, 718):  # A4 with margins of 2 cm and of 1 cm
            resize(driver, width, 900)
            driver.get(page.as_uri())
            assert driver.execute_script(CUT) == []
        cell = driver.find_element("css selector", ".heat td")
        assert cell.value_of_css_property("print-color-adjust") == "exact"
        labels = driver.find_elements("css selector", ".sound, .tabs label")
        assert labels
        assert not any(label.is_displayed() for label in labels)


@needs_chromium
def test_without_scripts_every_table_is_shown_and_nothing_to_press(page: Path) -> None:
    with chromium() as driver:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        driver.get(page.as_uri())
        panels = driver.find_elements("css selector", ".panel")
        assert len(panels) > 1
        assert all(panel.is_displayed() for panel in panels)
        labels = driver.find_elements("css selector", ".tabs label, .tabs legend")
        assert not any(label.is_displayed() for label in labels)

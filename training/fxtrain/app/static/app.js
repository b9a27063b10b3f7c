/* The page: what happens when. Each of the imported files does one thing. */

import { MOST_NAME, ask, send, start } from "./asking.js";
import { BoardView } from "./board.js";
import { at } from "./elements.js";
import { takeClips } from "./giving.js";
import { showHeard } from "./heard.js";
import { Player } from "./player.js";
import { offerFiles } from "./saving.js";
import { busily, ease, fail, hint, say } from "./telling.js";

const RENDER_AFTER_MS = 250;
const NO_PEDALS = "no pedals: you hear the guitar alone";

let facts = null; // pedals, phrases and limits, as the server says
let clip = null; // what was heard last
let view = null;
let answered = 0; // boards shown and renders asked for; an answer counts if there was none since
let given = 0; // clips given, and the number of the one that is shown: an older one comes too late
let latest = 0;
let chosen = 0; // what the board is to play was chosen so often: a recording read late is not the choice
const player = new Player(at("wave"), (seconds, duration) => {
  at("seek").value = Math.round((1000 * seconds) / duration);
  at("seek").setAttribute("aria-valuetext", `${seconds.toFixed(1)} of ${duration.toFixed(1)} seconds`);
});

function listen(blob, name) {
  const number = ++given;
  return busily("Listening …", async () => {
    const found = await send("/api/clip", blob, name, facts.limits).catch((error) => {
      if (clip) {
        at("earlier").textContent = `Not of ${name.slice(0, MOST_NAME)}, which could not be heard: `
          + `all of this is still of ${at("clip-name").textContent}.`;
        at("earlier").hidden = false;
      }
      throw error;
    });
    await shown(found, number);
  });
}

let coming = false; // the example: a second press meanwhile is none
function example() {
  if (coming) return;
  busily("Playing the built-in guitar …", async () => {
    const number = ++given;
    coming = true;
    const answer = await ask("/api/example", "{}").finally(() => { coming = false; });
    await shown(await answer.json(), number);
  });
}

/** A clip's answer, unless that of a clip which was given later is there already. */
async function shown(found, number) {
  if (number < latest) return;
  latest = number;
  answered += 1;
  clip = found;
  document.body.dataset.rendering = "yes";
  at("result").hidden = false;
  at("earlier").hidden = true;
  showHeard(found, put);
  // On a phone the answer would come below the screen's edge.
  const title = at("heard-title");
  if (title.getBoundingClientRect().top > innerHeight / 2) title.scrollIntoView();
  const doubt = Boolean(found.board.doubt);
  view.guess = doubt;
  view.show(found.board.pedals);
  told(found.board);
  at("notes").replaceChildren();
  at("play").disabled = false;
  hear(0);
  playing(false);
  await player.setClip(found.sound, found.rate_hz).catch(() => {
    if (number !== latest) return;
    if (player.on) playing(player.toggle());
    at("play").disabled = true;
    throw new Error("The clip's sound did not come; give the clip again.");
  });
  if (number !== latest) return;
  await render();
  if (number !== latest) return;
  const sentence = at("sentence").textContent;
  say(doubt ? sentence : `Heard on ${at("clip-name").textContent}: ${sentence}`, "Heard.");
}

/** Another board that it may have been, with its knobs as they would then have been heard. */
function put(names, text) {
  const known = new Map(clip.board.pedals.map((pedal) => [pedal.name, pedal]));
  view.show(names.map((name) => known.get(name)
    ?? { name, bypassed: false, ...(clip.turned[name] ?? { settings: view.kinds.get(name).settings }) }));
  say(`On the board: ${text}.`);
  changed();
}

/** What the board says of itself: settings, and pairs that could be swapped. */
function told(board) {
  // Never hidden: what is below would move away under a hand that is about to press it.
  at("basis").textContent = board.pedals.length ? board.basis : NO_PEDALS;
  view.showSwaps(board.swaps);
}

let waiting = 0;
function changed() {
  ease();
  answered += 1; // what is on its way is of another board
  document.body.dataset.rendering = "yes";
  clearTimeout(waiting);
  waiting = setTimeout(() => render().catch(fail), RENDER_AFTER_MS);
}

function asked(more = {}) {
  const pedals = view.pedals.map(({ name, settings, bypassed }) => ({ name, settings, bypassed }));
  return JSON.stringify({ clip: clip.id, pedals, ...more });
}

async function render() {
  const number = ++answered;
  document.body.dataset.rendering = "yes";
  try {
    const found = await (await ask("/api/render", asked({ dry: at("dry").value }))).json();
    if (number !== answered) return;
    told(found.board);
    await player.setBoard(found.sound);
  } catch (error) {
    if (number !== answered) return;
    document.body.dataset.rendering = "failed";
    throw error;
  }
  if (number !== answered) return;
  document.body.dataset.rendering = "no";
  document.body.dataset.renders = number;
}

/** A board that could not be played is asked for again by whoever wants to hear it. */
function again() {
  ease();
  if (document.body.dataset.rendering === "failed") changed();
}

function hear(i) {
  again();
  player.hear(i);
  at("hear-a").setAttribute("aria-pressed", String(i === 0));
  at("hear-b").setAttribute("aria-pressed", String(i === 1));
}

function playing(on) {
  at("play").textContent = on ? "Pause" : "Play";
}

function fill(select, rows) {
  select.replaceChildren(...rows.map(([value, text]) => new Option(text, value)));
}

function wire() {
  takeClips({ listen, example, limits: () => facts?.limits });
  at("play").addEventListener("click", () => {
    again();
    playing(player.toggle());
  });
  at("hear-a").addEventListener("click", () => hear(0));
  at("hear-b").addEventListener("click", () => hear(1));
  at("volume").addEventListener("input", ({ target }) => player.setVolume(target.value / 100));
  at("seek").addEventListener("input", ({ target }) => player.seek(target.value / 1000));
  at("dry").addEventListener("change", () => {
    chosen += 1;
    changed();
  });
  at("dry-file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    target.value = "";
    if (file) {
      const number = ++chosen;
      busily("Reading your dry recording …", async () => {
        const dry = await send("/api/dry", file, file.name, facts.limits);
        const last = number === chosen;
        at("dry").add(new Option(`yours: ${dry.title}`, dry.id, last, last));
        if (!last) return;
        await render();
        say(`The board plays ${dry.title}.`);
      });
    }
  });
  at("add-button").addEventListener("click", () => view.add(at("add").value));
  at("reset").addEventListener("click", () => {
    view.show(clip.board.pedals);
    say("On the board: what was heard.");
    changed();
  });
  offerFiles(asked);
}

async function begin() {
  at("late").remove();
  say("Getting ready …", "Getting ready …", true);
  wire();
  facts = await start();
  const kinds = new Map(facts.pedals.map((pedal) => [pedal.name, pedal]));
  view = new BoardView(at("board"), kinds, { changed, say, hint });
  fill(at("add"), facts.pedals.map(({ name }) => [name, name]));
  fill(at("dry"), facts.phrases.map((name, i) => [name, `built-in guitar ${i + 1}`]));
  const known = facts.pedals.filter((pedal) => pedal.known).map(({ name }) => name);
  at("known").textContent = `It knows ${known.length} pedals: ${known.join(", ")}. `
    + "Any other gets the name of the one it sounds most like.";
  at("limits").textContent = `Up to ${facts.limits.seconds} seconds and `
    + `${Math.round(facts.limits.n_bytes / 2 ** 20)} MB.`;
  for (const button of document.querySelectorAll("#drop button")) button.disabled = false;
  at("file").disabled = false;
  say("Ready.");
}

begin().catch(fail);

/* The page: what happens when. Sound is in player.js, the cards in board.js. */

import { BoardView, percent } from "./board.js";
import { Player } from "./player.js";
import { Recorder, decoded, wavOf } from "./sound.js";

const RENDER_AFTER_MS = 250;
const UNSURE = 0.75; // an order less probable than this is called unsure, as predict does
const COIN = 0.6; // and below this the clip does not tell
const WORTH_NAMING = 0.01; // of another board, as predict does
const SEEN_MS = 4000; // how long a word stays before the page's lower edge
const NO_PEDALS = "no pedals: you hear the guitar alone";
const MOST_NAME = 60; // letters of a file's name, as the server cuts it
const FILES = [
  ["svg", "The drawing (SVG)"], ["chain", "chain.json"], ["pedalboard", "pedalboard script"],
  ["guitarix", "Guitarix bank"], ["mod", "MOD pedalboard (experimental)"], ["sox", "SoX command"],
  ["readme", "README"],
];

const NO_INPUT = "This browser finds no microphone or input that it may use. Plug one in, or allow it in the "
  + "browser's settings of this page; or record with another program and choose the file.";
const NOT_FROM_AFAR = "A browser records only on the computer that runs the program. "
  + "Record with another app, then choose the file.";
const NOTHING = "Nothing was recorded. Record for a second or more.";

const at = (id) => document.getElementById(id);
const status = at("status");
let facts = null; // pedals, phrases and limits, as the server says
let clip = null; // what was heard last
let view = null;
let answered = 0; // boards shown and renders asked for; an answer counts if there was none since
let given = 0; // clips given, and the number of the one that is shown: an older one comes too late
let latest = 0;
let chosen = 0; // what the board is to play was chosen so often: a recording read late is not the choice
const gone = () => { throw new Error("The program behind this page does not answer. "
  + "Start it again (fxtrain serve), then load this page again."); };
const player = new Player(at("wave"), (seconds, duration) => {
  at("seek").value = Math.round((1000 * seconds) / duration);
  at("seek").setAttribute("aria-valuetext", `${seconds.toFixed(1)} of ${duration.toFixed(1)} seconds`);
});

let fading = 0;
let kept = false;
/** For eyes, for a few seconds or until the next word. */
function brief(text, stays = false) {
  at("brief").textContent = text;
  at("brief").hidden = !text;
  kept = stays;
  clearTimeout(fading);
  if (!stays) fading = setTimeout(() => { at("brief").hidden = true; }, SEEN_MS);
}

/** `text` for screen readers; `short` for eyes. */
function say(text, short = text, stays = false) {
  status.textContent = text;
  brief(short, stays);
}

/** What a knob does, for fingers and keys: no mouse rests on it. */
function hint(text) {
  if (!kept) brief(text);
}

new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty("--told", `${target.offsetHeight + 16}px`);
}).observe(document.querySelector(".told"));

/** An error stays until the next action. */
function fail(error) {
  at("error").textContent = error.message;
  at("error").hidden = false;
  say("");
}

function ease() { at("error").hidden = true; }

async function ask(path, body, type = "application/json") {
  const answer = await fetch(path, { method: "POST", body, headers: { "Content-Type": type } })
    .then(async (begun) => new Response(await begun.blob(), begun)) // all of it, or none
    .catch(gone);
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({ error: `The answer was ${answer.status}.` }));
  throw Object.assign(new Error(told.error), { status: answer.status });
}

/** A file to `path`; what goes wrong is said of that file. */
async function send(path, blob, name) {
  try {
    return await handed(path, blob, name);
  } catch (error) {
    error.message = `${name.slice(0, MOST_NAME)}: ${error.message}`;
    throw error;
  }
}

/** What the server cannot read, this browser may. */
async function handed(path, blob, name) {
  if (blob.size > facts.limits.n_bytes) {
    throw new Error(`Larger than ${Math.round(facts.limits.n_bytes / 2 ** 20)} MB; give a shorter clip.`);
  }
  const url = `${path}?name=${encodeURIComponent(name)}`;
  try {
    return await (await ask(url, blob, "application/octet-stream")).json();
  } catch (error) {
    if (error.status !== 422 || !/cannot be read as audio/.test(error.message)) throw error;
    const buffer = await decoded(blob).catch(() => { throw error; });
    const most = facts.limits.seconds;
    if (buffer.duration > most) {
      throw new Error(`This is ${buffer.duration.toFixed(1)} s of sound; ${most} s at most can be used. `
        + "Cut out the part with the guitar.");
    }
    return (await ask(url, wavOf(buffer), "application/octet-stream")).json();
  }
}

let busy = 0;
async function busily(text, act) {
  ease();
  say(text, text, true);
  at("result").setAttribute("aria-busy", "true"); // alone: of what is busy, screen readers tell nothing
  busy += 1;
  try { await act(); } catch (error) { fail(error); } finally {
    busy -= 1;
    if (!busy) at("result").removeAttribute("aria-busy");
  }
}

function listen(blob, name) {
  const number = ++given;
  return busily("Listening …", async () => {
    const found = await send("/api/clip", blob, name).catch((error) => {
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

/** A clip's answer, unless that of a clip which was given later is there already. */
async function shown(found, number) {
  if (number < latest) return;
  latest = number;
  answered += 1;
  clip = found;
  document.body.dataset.rendering = "yes";
  at("result").hidden = false;
  at("earlier").hidden = true;
  at("clip-name").textContent = found.truth.length ? "the built-in example" : found.board.title;
  at("truth").textContent = `The example is: ${found.truth.join(" → ")}`;
  at("truth").hidden = found.truth.length === 0;
  const { doubt, sentence } = found.board;
  at("sentence").textContent = doubt ? `${doubt[0].toUpperCase()}${doubt.slice(1)}.` : sentence;
  const guess = found.board.pedals.map((pedal) => pedal.name).join(" → ") || "no pedals";
  at("doubt").textContent = `If it is one after all: ${guess}.`;
  at("doubt").hidden = !doubt;
  at("missing").textContent = `Missing from this file: ${found.board.missing}.`;
  at("missing").hidden = !found.board.missing;
  at("kin").textContent = found.kin.length === 0 ? "" : `Surer of the kind than of the pedal: ${found.kin.join("; ")}.`;
  at("perhaps").textContent = found.perhaps && `Perhaps there too: ${found.perhaps}.`;
  at("textbook").textContent = textbook(found.board);
  at("unsure").textContent = order(found.board.pairs.filter((pair) => pair.audible));
  alternatives(found);
  // On a phone the answer would come below the screen's edge.
  const title = at("heard-title");
  if (title.getBoundingClientRect().top > innerHeight / 2) title.scrollIntoView();
  view.guess = Boolean(doubt);
  at("trust").hidden = Boolean(doubt);
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
  say(doubt ? at("sentence").textContent : `Heard on ${at("clip-name").textContent}: ${sentence}`, "Heard.");
}

/** Of which orders the answer is not sure, and of which this clip says nothing; as predict has it. */
function order(pairs) {
  const unsure = pairs.filter(({ probability: p }) => p >= COIN && p < UNSURE)
    .map((pair) => `${pair.first} before ${pair.second} (${percent(pair.probability)})`);
  const open = pairs.filter(({ probability: p }) => p < COIN)
    .map((pair) => `${pair.first} or ${pair.second}`);
  return [
    unsure.length ? `Not sure of the order: ${unsure.join(", ")}.` : "",
    open.length ? `This clip does not tell which comes first: ${open.join(", ")}.` : "",
  ].filter(Boolean).join(" ");
}

/** The textbook's order beside it, and where they differ so that it can be heard. */
function textbook(board) {
  const names = board.pedals.map((pedal) => pedal.name);
  if (names.length < 2) return "";
  if (names.join() === board.textbook.join()) return "A textbook would have them in the same order.";
  const turned = board.pairs
    .filter(({ first, second, audible }) => (
      audible && board.textbook.indexOf(first) > board.textbook.indexOf(second)))
    .map(({ first, second }) => `${second} before ${first}`);
  const differs = turned.length ? turned.join(", ") : "it sounds the same";
  return `A textbook would have ${board.textbook.join(" → ")}: ${differs}.`;
}

/** Other boards that it may have been, with their knobs as they would then have been heard. */
function alternatives({ board, turned }) {
  const answer = board.pedals.map((pedal) => pedal.name).join();
  const others = board.alternatives.filter(({ pedals, probability }) => (
    probability >= WORTH_NAMING && pedals.join() !== answer));
  at("others").hidden = others.length === 0;
  at("alternatives").replaceChildren(...others.map((other, i) => {
    const item = document.createElement("li");
    const sure = document.createElement("span");
    sure.className = "sure";
    sure.textContent = percent(other.probability);
    const take = document.createElement("button");
    take.type = "button";
    const text = other.pedals.length ? other.pedals.join(" → ") : "no pedals";
    take.textContent = text;
    take.setAttribute("aria-label", `Put number ${i + 1} on the board: ${text}`);
    take.addEventListener("click", () => {
      const known = new Map(board.pedals.map((pedal) => [pedal.name, pedal]));
      view.show(other.pedals.map((name) => known.get(name)
        ?? { name, bypassed: false, ...(turned[name] ?? { settings: view.kinds.get(name).settings }) }));
      say(`On the board: ${text}.`);
      changed();
    });
    item.append(sure, take);
    return item;
  }));
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

function asked(more) {
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

const saving = new Set(); // formats that are on their way: a second press is none

async function save(format, what) {
  if (saving.has(format)) return;
  saving.add(format);
  ease();
  const text = `Saving: ${what} …`;
  say(text, text, true);
  try { await saved(format); } catch (error) { fail(error); } finally { saving.delete(format); }
}

async function saved(format) {
  const answer = await ask(`/api/export/${format}`, asked({}));
  const notes = JSON.parse(answer.headers.get("X-Notes"));
  const [, name] = /filename="(.*)"/.exec(answer.headers.get("Content-Disposition"));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await answer.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  say(`Saved ${name}.`);
  at("notes").replaceChildren(...notes.map((note) => {
    const item = document.createElement("li");
    item.textContent = note;
    return item;
  }));
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
  at("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (file) listen(file, file.name);
    target.value = "";
  });
  // Anywhere on the page: a file that missed the frame would otherwise take the page's place.
  const drop = at("drop");
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
  }
  document.addEventListener("dragleave", ({ relatedTarget }) => {
    if (!relatedTarget) drop.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    const { files } = event.dataTransfer;
    if (!view) fail(new Error("Still getting ready; drop it again in a few seconds."));
    else if (files.length > 1) fail(new Error("That is more than one file; drop one clip at a time."));
    else if (files.length) listen(files[0], files[0].name);
  });
  let coming = false; // the example: a second press meanwhile is none
  at("example").addEventListener("click", () => !coming && busily("Playing the built-in guitar …", async () => {
    const number = ++given;
    coming = true;
    const answer = await ask("/api/example", "{}").finally(() => { coming = false; });
    await shown(await answer.json(), number);
  }));
  let recorder = null;
  let asking = false; // the browser whether the input may be used: a second click is no second recording
  // Nor is the second half of a double click on its end.
  at("record").addEventListener("click", ({ detail }) => !asking && detail < 2 && busily("", async () => {
    const button = at("record");
    if (recorder) {
      const now = recorder;
      recorder = null;
      button.textContent = "Record";
      button.classList.remove("primary");
      await listen(await now.stop().catch(() => { throw new Error(NOTHING); }), "recording");
      return;
    }
    const next = new Recorder();
    asking = true;
    await next.start()
      .catch(() => { throw new Error(isSecureContext ? NO_INPUT : NOT_FROM_AFAR); })
      .finally(() => { asking = false; });
    recorder = next;
    // More could not be heard: it would be lost.
    setTimeout(() => { if (recorder === next) button.click(); }, 1000 * (facts.limits.seconds - 1));
    button.textContent = "Stop recording";
    button.classList.add("primary");
    say("Recording …", "Recording …", true);
  }));
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
        const dry = await send("/api/dry", file, file.name);
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
  at("exports").replaceChildren(...FILES.map(([format, text]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = text;
    button.dataset.format = format;
    button.addEventListener("click", () => save(format, text));
    return button;
  }));
}

async function begin() {
  for (const button of document.querySelectorAll("#drop button")) button.disabled = true;
  at("file").disabled = true;
  wire();
  const answer = await fetch("/api/start").catch(gone);
  const told = await answer.json().catch(gone);
  if (!answer.ok) throw new Error(told.error);
  facts = told;
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

/* The listener's page: welcome, volume, then one trial after another. The server decides what comes
   next; here are only sounds, buttons and the answer that is being given. No library. */

import { LockStep, fetchSound, openContext } from "/shared/lockstep.js";

const BANDS = ["bad", "poor", "fair", "good", "excellent"];
const USES_SPACE = ["BUTTON", "SUMMARY"];
const SLOW_MS = 400; // what takes longer is said to be under way
const TAKES_SPACE = "input:not(:checked), input[type=checkbox]";
const main = document.getElementById("main");
const status = document.getElementById("status");

let context = null; // opened by the first press of a button: browsers want a gesture
let player = null;
let volume = 0.5;
let byLetters = true; // what is dictated, or typed by a slip, would press the buttons too

// ---- small tools ---------------------------------------------------------------------------

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function show(...nodes) {
  main.replaceChildren(...nodes);
  say("");
  main.focus();
  window.scrollTo(0, 0);
}

let waiting = 0;
/** What went wrong, or what is under way. */
function say(text, wrong = true) {
  clearTimeout(waiting);
  status.textContent = text;
  status.classList.toggle("wrong", wrong);
}

async function ask(path, data) {
  const request = data === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(data),
  };
  let answer, found;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...request });
    found = await answer.json();
  } catch {
    throw new Error("The server does not answer. Your answers so far are kept; try again.");
  }
  if (!answer.ok) throw new Error(found.error ?? `${path}: ${answer.status}`);
  return found;
}

function loading(text) {
  if (player) player.close();
  player = null;
  document.onkeydown = null; // its keys with it
  show(make("p", {}, text));
}

/** A button in place of what did not come; what went wrong is said by whoever asked for it. */
function retry(again) {
  show(make("button", { class: "go", id: "retry", onclick: () => attempt(again) }, "Try again"));
}

/** The sounds at `urls`; where one does not come, a button for `again`. */
async function open(rate, urls, again) {
  context ??= openContext(rate);
  if (context.state === "suspended") await context.resume();
  const buffers = await Promise.all(urls.map((url) => fetchSound(context, url))).catch((error) => {
    retry(again);
    throw error;
  });
  player = new LockStep(context, buffers, { gain: volume });
  window.fxlisten = { player, context }; // for whoever looks from outside: tests, a console
  return player;
}

// ---- pages ---------------------------------------------------------------------------------

function header(state) {
  document.getElementById("title").textContent = state.study.title;
  document.title = state.study.title;
  const box = document.getElementById("progress");
  box.hidden = !state.session;
  if (!state.session) return;
  const { done, total } = state.session;
  const text = done < total ? `Trial ${done + 1} of ${total}` : `${total} of ${total}`;
  document.getElementById("count").textContent = text;
  const bar = document.getElementById("bar");
  bar.max = total;
  bar.value = done;
}

function welcome(state) {
  header(state);
  const resumes = state.session !== null;
  const goOn = () => attempt(async () => setVolume(await ask("/api/start", {})));
  show(
    make("h1", {}, resumes ? "Welcome back" : "Thank you for listening"),
    make("p", {}, `You will hear short pieces of electric guitar. The question is always the same: ${state.study.question}`),
    make("p", {}, "Take a quiet room, good headphones if you have them, and your time. You may pause: this browser remembers where you were."),
    make("p", { class: "soft" }, "Kept are your answers, how often you played each sound, how long a trial took, and how you listen. Nothing about you: no name, no address, no time of day. A cookie with a random word lets you go on after a break."),
    ...(resumes ? [] : [devices()]),
    make("button", { class: "go", id: "start", onclick: resumes ? goOn : () => begin({}) }, resumes ? "Go on" : "Start"),
  );
}

async function setVolume(state) {
  header(state);
  if (state.trial === null) return done(state);
  loading("Loading …");
  const sound = await open(state.study.sample_rate_hz, ["/sound/volume"], () => setVolume(state));
  const play = make("button", { id: "play", onclick: () => {
    sound.playing ? sound.pause() : sound.play();
    play.textContent = sound.playing ? "Stop" : "Play";
  } }, "Play");
  const slider = make("input", { type: "range", id: "volume", min: 0, max: 100, value: volume * 100,
    oninput: () => {
      volume = slider.value / 100;
      sound.setVolume(volume);
    } });
  show(
    make("h1", {}, "Set the volume"),
    make("p", {}, "Play the guitar and set a level that is comfortable and clear. Then leave it: all sounds of the test are equally loud, and the level is locked from here on."),
    make("div", { class: "transport" }, play),
    make("p", {}, make("label", { for: "volume" }, "Volume"), slider),
    make("button", { class: "go", id: "next", onclick: () => attempt(() => trial(state)) }, "The volume is right"),
  );
}

function choice(name, options, onpick = () => {}) {
  return make("div", { class: "choice" }, ...options.map(([value, text]) => make("span", {},
    make("input", { type: "radio", name, id: `${name}-${value}`, value, onchange: onpick }),
    make("label", { for: `${name}-${value}` }, text))));
}

const nameOf = (slot) => (slot === "reference" ? "Reference" : slot.toUpperCase());

async function trial(state, feedback = null) {
  header(state);
  if (state.trial === null) return done(state);
  loading("Loading the sounds …");
  const { number, slots, training } = state.trial;
  const { kind } = state.study;
  const urls = slots.map((slot) => `/sound/${number}/${slot}`);
  const sounds = await open(state.study.sample_rate_hz, urls, () => resume(number, feedback));
  const began = performance.now();
  const plays = Object.fromEntries(slots.map((slot) => [slot, 0]));
  const ratings = {};
  let picked = null;
  let sending = false;

  const buttons = Object.fromEntries(slots.map((slot) => [slot, make("button", {
    class: "sound", id: `hear-${slot}`, "aria-pressed": "false",
    "aria-label": `Hear ${nameOf(slot)}`, onclick: () => hear(slot),
  }, nameOf(slot))]));
  const fill = make("div");
  const pause = make("button", { id: "pause", onclick: () => toggle() }, "Pause");
  pause.disabled = true;
  const next = make("button", { class: "go", id: "next", onclick: () => attempt(send, "Saving your answer …") }, "Next");
  const why = make("p", { class: "soft", id: "why" }); // what Next still waits for

  function hear(slot) {
    sounds.switchTo(slots.indexOf(slot));
    if (!sounds.playing) sounds.play();
    plays[slot] += 1;
    buttons[slot].classList.add("heard");
    buttons[slot].setAttribute("aria-label", `Hear ${nameOf(slot)} again`);
    if (kind === "mushra" && slot !== "reference") row(slot).disabled = false;
    refresh();
  }

  function toggle() {
    if (sounds.playing) sounds.pause();
    else if (Object.values(plays).some(Boolean)) sounds.play();
    refresh();
  }

  function refresh() {
    for (const [i, slot] of slots.entries()) {
      buttons[slot].setAttribute("aria-pressed", String(sounds.playing && sounds.heard === i));
    }
    pause.textContent = sounds.playing ? "Pause" : "Play";
    pause.disabled = !Object.values(plays).some(Boolean);
    next.disabled = sending || missing() !== null;
    why.textContent = missing() ?? "";
  }

  /** What still has to be done before Next, or null. */
  function missing() {
    const unheard = slots.filter((slot) => plays[slot] === 0).map(nameOf);
    if (unheard.length) return `Listen to ${unheard.join(", ")} first.`;
    if (kind === "mushra" && Object.keys(ratings).length < slots.length - 1) return "Rate every sound.";
    if (kind !== "mushra" && picked === null) return "Choose A or B.";
    return null;
  }

  async function send() {
    sending = true;
    refresh();
    try {
      const after = await ask("/api/answer", {
        trial: number,
        answer: kind === "mushra" ? { ratings } : { choice: picked },
        plays,
        rt_ms: Math.round(performance.now() - began),
        context_rate_hz: context.sampleRate,
      });
      await trial(after, after.feedback ?? null);
    } finally {
      sending = false;
      refresh();
      next.focus(); // which a button that was disabled has lost; no matter once another page is shown
    }
  }

  // One row of the MUSHRA scale. A slider counts as set once it was touched.
  const rows = {};
  function row(slot) {
    if (rows[slot]) return rows[slot].slider;
    const out = make("output", { for: `rate-${slot}`, "aria-hidden": "true" }, "–");
    const rated = () => {
      ratings[slot] = Number(slider.value);
      out.textContent = slider.value;
      slider.setAttribute("aria-valuetext", `${slider.value}, ${BANDS[Math.min(4, Math.floor(slider.value / 20))]}`);
      refresh();
    };
    const slider = make("input", { type: "range", id: `rate-${slot}`, min: 0, max: 100, value: 50,
      "aria-label": `How near is ${nameOf(slot)} to the reference`, "aria-valuetext": "not rated",
      oninput: rated, onpointerup: rated, onkeyup: (event) => {
        if (event.key === "Enter" || event.key === " ") rated();
      } });
    slider.disabled = true;
    rows[slot] = { slider, node: make("div", { class: "scale" }, buttons[slot], slider, out) };
    return slider;
  }

  const body = [];
  if (kind === "mushra") {
    for (const slot of slots.slice(1)) row(slot);
    body.push(
      make("div", { class: "sounds" }, buttons.reference),
      make("fieldset", {}, make("legend", {}, "Your ratings"),
        make("div", { class: "scale head", "aria-hidden": "true" }, make("span"),
          make("div", { class: "bands" }, ...BANDS.map((band) => make("span", {}, band))), make("span")),
        ...slots.slice(1).map((slot) => rows[slot].node)),
    );
  } else {
    const text = kind === "abx" ? ["X is A", "X is B"] : ["A is nearer", "B is nearer"];
    body.push(
      make("div", { class: "sounds" }, ...slots.map((slot) => buttons[slot])),
      make("fieldset", {}, make("legend", {}, "Your answer"),
        choice("pick", [["a", text[0]], ["b", text[1]]], (event) => {
          picked = event.target.value;
          refresh();
        })),
    );
  }
  const hint = {
    abx: "A and B may sound alike. If you cannot tell, guess: a guess is an answer.",
    pairwise: "Compare with the reference as often as you like. If you cannot tell, guess.",
    mushra: "Rate how near each one is, from bad (far off) to excellent (the same), not how good it sounds. One of them is the reference itself: rate it 100. A slider can be moved once its sound was heard.",
  }[kind];
  show(
    make("h1", {}, state.study.question),
    ...(training ? [make("p", { class: "note", id: "practice" }, "For practice: this answer does not count.")] : []),
    ...(feedback === null ? [] : [make("p", { class: "note", id: "feedback" },
      make("span", { class: feedback ? "good" : "bad" }, feedback ? "Right." : "Not this time."),
      " That was the practice trial. From here on nothing is said about your answers.")]),
    make("p", { class: "soft" }, hint),
    ...body,
    make("div", { class: "transport" }, pause,
      make("div", { class: "where", "aria-hidden": "true" }, fill)),
    region(sounds),
    make("p", { class: "soft keys" }, "Keys: ",
      ...keysOf(slots).flatMap(([key]) => [make("kbd", {}, key), " "]), "hear a sound, ",
      make("kbd", {}, "space"), " pause. ",
      make("label", {}, make("input", {
        type: "checkbox", id: "letters", checked: byLetters, onchange: (event) => { byLetters = event.target.checked; },
      }), " letters are heard")),
    why,
    make("p", {}, next),
  );
  document.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const target = event.target instanceof HTMLElement ? event.target.tagName : "";
    const slot = byLetters && keysOf(slots).find(([key]) => key === event.key.toLowerCase())?.[1];
    if (slot) hear(slot);
    else if (event.key === " " && !USES_SPACE.includes(target) && !event.target.matches(TAKES_SPACE)) {
      event.preventDefault();
      toggle();
    }
  };
  (function draw() {
    if (player !== sounds) return;
    fill.style.width = `${(100 * sounds.position()) / sounds.duration}%`;
    requestAnimationFrame(draw);
  })();
  refresh();
}

/** The trial that is open now: another tab of this browser may have gone on. */
async function resume(number, feedback) {
  const state = await ask("/api/state");
  if (!state.session) return welcome(state);
  return trial(state, state.trial?.number === number ? feedback : null);
}

/** One key a sound; from the tenth on there is none. */
function keysOf(slots) {
  return slots.map((slot) => [slot === "reference" ? "r" : slot, slot]).filter(([key]) => key.length === 1);
}

/** Loop a part of the sounds: two sliders, half a second apart at least. */
function region(sounds) {
  const moved = () => {
    sounds.setRegion(Number(from.value), Number(to.value));
    from.value = sounds.region[0];
    to.value = sounds.region[1];
    tell();
  };
  const slider = (id, label, value) => make("input", {
    type: "range", id, "aria-label": label, min: 0, max: sounds.duration, step: 0.1, value, onchange: moved,
  });
  const from = slider("loop-from", "Loop from", 0);
  const to = slider("loop-to", "Loop to", sounds.duration);
  const outs = [from, to].map((input) => make("output", { for: input.id, "aria-hidden": "true" }));
  const tell = () => [from, to].forEach((input, i) => {
    outs[i].textContent = `${Number(input.value).toFixed(1)} s`;
    input.setAttribute("aria-valuetext", outs[i].textContent);
  });
  tell();
  return make("details", {}, make("summary", {}, "Loop a part"),
    make("div", { class: "region" },
      make("label", { for: "loop-from" }, "from"), from, outs[0],
      make("label", { for: "loop-to" }, "to"), to, outs[1]));
}

function done(state) {
  header(state);
  loading("");
  show(
    make("h1", {}, "That was all. Thank you!"),
    make("p", { id: "done" }, "Your answers are kept. You may close this page."),
    make("p", { class: "soft" }, "Is somebody else going to listen at this computer?"),
    make("button", { id: "again", onclick: () => another() }, "Start for another listener"),
  );
}

function another() {
  show(
    make("h1", {}, "Another listener"),
    devices(),
    make("button", { class: "go", id: "start", onclick: () => begin({ new: true }) }, "Start"),
  );
}

function devices() {
  return make("fieldset", {}, make("legend", {}, "How do you listen?"),
    choice("device", [["headphones", "Headphones"], ["loudspeakers", "Loudspeakers"]]));
}

function begin(how) {
  const device = document.querySelector("input[name=device]:checked")?.value;
  if (!device) return say("Say how you listen: over headphones or loudspeakers.");
  return attempt(async () => setVolume(await ask("/api/start", { device, ...how })));
}

let working = false;
/** One thing at a time: a second press while an answer is on its way is none. */
async function attempt(work, slow = "One moment …") {
  if (working) return;
  working = true;
  say("");
  waiting = setTimeout(() => say(slow, false), SLOW_MS);
  try {
    await work();
    say("");
  } catch (error) {
    say(error.message);
  } finally {
    working = false;
  }
}

async function first() {
  loading("Loading …");
  const state = await ask("/api/state").catch((error) => {
    retry(first);
    throw error;
  });
  if (state.session && state.trial === null) done(state);
  else welcome(state);
}

attempt(first);

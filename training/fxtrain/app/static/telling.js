/* What is told: a word that eyes see for a while, all of it for screen readers, and errors. */

import { at } from "./elements.js";

const SEEN_MS = 4000; // how long a word stays before the page's lower edge

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
export function say(text, short = text, stays = false) {
  at("status").textContent = text;
  brief(short, stays);
}

/** What a knob does, for fingers and keys: no mouse rests on it. */
export function hint(text) {
  if (!kept) brief(text);
}

/** An error stays until the next action. */
export function fail(error) {
  at("error").textContent = error.message;
  at("error").hidden = false;
  say("");
}

export function ease() { at("error").hidden = true; }

let busy = 0;
/** Say `text` until `act` is done; what goes wrong there is told. */
export async function busily(text, act) {
  ease();
  say(text, text, true);
  at("result").setAttribute("aria-busy", "true"); // alone: of what is busy, screen readers tell nothing
  busy += 1;
  try { await act(); } catch (error) { fail(error); } finally {
    busy -= 1;
    if (!busy) at("result").removeAttribute("aria-busy");
  }
}

new ResizeObserver(([{ target }]) => {
  document.documentElement.style.setProperty("--told", `${target.offsetHeight + 16}px`);
}).observe(document.querySelector(".told"));

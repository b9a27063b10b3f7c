/* The board as files to take along: a button each, and what a file could not say. */

import { ask } from "./asking.js";
import { at, button } from "./elements.js";
import { ease, fail, say } from "./telling.js";

const FILES = [
  ["svg", "The drawing (SVG)"], ["chain", "chain.json"], ["pedalboard", "pedalboard script"],
  ["guitarix", "Guitarix bank"], ["mod", "MOD pedalboard (experimental)"], ["sox", "SoX command"],
  ["readme", "README"],
];

const saving = new Set(); // formats that are on their way: a second press is none

/** `asked()` is what to ask for: the clip and the board that is shown. */
export function offerFiles(asked) {
  at("exports").replaceChildren(...FILES.map(([format, text]) => {
    const made = button(text, null, () => save(format, text, asked));
    made.dataset.format = format;
    return made;
  }));
}

async function save(format, what, asked) {
  if (saving.has(format)) return;
  saving.add(format);
  ease();
  const text = `Saving: ${what} …`;
  say(text, text, true);
  try { await saved(format, asked); } catch (error) { fail(error); } finally { saving.delete(format); }
}

async function saved(format, asked) {
  const answer = await ask(`/api/export/${format}`, asked());
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

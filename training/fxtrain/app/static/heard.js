/* What was heard, in words, as sure as fxtrain predict has it; other boards it may have been. */

import { percent } from "./board.js";
import { at, button } from "./elements.js";

const UNSURE = 0.75; // an order less probable than this is called unsure
const COIN = 0.6; // and below this the clip does not tell
const WORTH_NAMING = 0.01; // of another board

/** The server's answer to a clip; `put(names, text)` puts another board there. */
export function showHeard(found, put) {
  const { doubt, sentence } = found.board;
  at("clip-name").textContent = found.truth.length ? "the built-in example" : found.board.title;
  at("truth").textContent = `The example is: ${found.truth.join(" → ")}`;
  at("truth").hidden = found.truth.length === 0;
  at("sentence").textContent = doubt ? `${doubt[0].toUpperCase()}${doubt.slice(1)}.` : sentence;
  const guess = found.board.pedals.map((pedal) => pedal.name).join(" → ") || "no pedals";
  at("doubt").textContent = `If it is one after all: ${guess}.`;
  at("doubt").hidden = !doubt;
  at("trust").hidden = Boolean(doubt);
  at("missing").textContent = `Missing from this file: ${found.board.missing}.`;
  at("missing").hidden = !found.board.missing;
  at("kin").textContent = found.kin.length === 0 ? "" : `Surer of the kind than of the pedal: ${found.kin.join("; ")}.`;
  at("perhaps").textContent = found.perhaps && `Perhaps there too: ${found.perhaps}.`;
  at("textbook").textContent = textbook(found.board);
  at("unsure").textContent = order(found.board.pairs.filter((pair) => pair.audible));
  showOthers(found.board, put);
}

/** Of which orders the answer is not sure, and of which this clip says nothing. */
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

function showOthers(board, put) {
  const answer = board.pedals.map((pedal) => pedal.name).join();
  const others = board.alternatives.filter(({ pedals, probability }) => (
    probability >= WORTH_NAMING && pedals.join() !== answer));
  at("others").hidden = others.length === 0;
  at("alternatives").replaceChildren(...others.map((other, i) => {
    const item = document.createElement("li");
    const sure = document.createElement("span");
    sure.className = "sure";
    sure.textContent = percent(other.probability);
    const text = other.pedals.length ? other.pedals.join(" → ") : "no pedals";
    const label = `Put number ${i + 1} on the board: ${text}`;
    item.append(sure, button(text, label, () => put(other.pedals, text)));
    return item;
  }));
}

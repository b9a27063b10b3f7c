/* The board as cards: order, bypass, knobs. Knows nothing of sound or of the server. */

import { button } from "./elements.js";
import { makeKnob } from "./knob.js";

/** As `percent` of telling.py: nothing is certain. */
export function percent(p) {
  return p < 0.005 ? "<1%" : `${Math.min(99, Math.round(100 * p))}%`;
}

export class BoardView {
  /** `list` is an <ol>; `kinds` maps a pedal's name to what the server says of it; `changed()` is
      called after every change, `say(text)` tells what happened, `hint(text)` what a knob does. */
  constructor(list, kinds, { changed, say, hint }) {
    Object.assign(this, { list, kinds, changed, say, hint, pedals: [], swaps: [], guess: false });
  }

  show(pedals) {
    this.pedals = structuredClone(pedals);
    this.draw();
  }

  /** Pairs of names whose order cannot be heard. */
  showSwaps(pairs) {
    this.swaps = pairs;
    [...this.list.children].forEach((card, i) => this.between(card, i));
  }

  /** In place of the arrow from this card to the next, a button where nobody would hear them
      swapped: what lies below does not move when it comes. One that stays may be pressed this moment. */
  between(card, i) {
    const there = card.querySelector(".swap");
    if (Boolean(there) === this.swappable(i + 1)) return;
    if (!there) {
      const [one, other] = [this.pedals[i].name, this.pedals[i + 1].name];
      const swap = button("", `Swap ${one} and ${other}: nobody would hear it`, () => {
        this.move(i, i + 1);
        this.list.children[i].querySelector(".swap")?.focus();
      });
      swap.classList.add("swap");
      card.append(swap);
      return;
    }
    const held = there === document.activeElement;
    there.remove();
    if (held) card.querySelector("button:enabled").focus();
  }

  /** Could the pedals at i - 1 and i be swapped without a difference that anyone hears? */
  swappable(i) {
    if (i < 1 || i >= this.pedals.length) return false;
    const [a, b] = [this.pedals[i - 1].name, this.pedals[i].name];
    return this.swaps.some(([x, y]) => (x === a && y === b) || (x === b && y === a));
  }

  draw() {
    this.list.replaceChildren(...this.pedals.map((pedal, i) => this.card(pedal, i)));
  }

  move(from, to) {
    if (to < 0 || to >= this.pedals.length || to === from) return;
    const [pedal] = this.pedals.splice(from, 1);
    this.pedals.splice(to, 0, pedal);
    this.draw();
    this.say(`${pedal.name} is now pedal ${to + 1} of ${this.pedals.length}.`);
    this.changed();
  }

  /** Move by a button, and keep the focus on that button of the same pedal. */
  step(i, way) {
    this.move(i, i + way);
    const card = this.list.children[Math.min(Math.max(i + way, 0), this.pedals.length - 1)];
    const wanted = card?.querySelector(way < 0 ? ".earlier" : ".later");
    (wanted?.disabled ? card.querySelector(way < 0 ? ".later" : ".earlier") : wanted)?.focus();
  }

  add(name) {
    this.pedals.push({ name, settings: { ...this.kinds.get(name).settings }, bypassed: false });
    this.draw();
    this.say(`${name} was added at the end.`);
    this.changed();
  }

  card(pedal, i) {
    const kind = this.kinds.get(pedal.name);
    const alone = this.pedals.every((other) => other === pedal || other.name !== pedal.name);
    const who = alone ? pedal.name : `${pedal.name} (pedal ${i + 1})`;
    const card = document.createElement("li");
    card.className = "card";
    card.classList.toggle("bypassed", pedal.bypassed);
    card.style.setProperty("--box", kind.colour);
    card.dataset.pedal = pedal.name;
    const head = document.createElement("header");
    const place = document.createElement("span");
    place.className = "place";
    place.textContent = i + 1;
    const title = document.createElement("h3");
    title.textContent = pedal.name;
    head.append(place, title);
    const sure = document.createElement("p");
    sure.className = "sure";
    sure.textContent = pedal.bypassed ? "bypassed"
      : pedal.probability == null ? "put there by you"
      : this.guess ? "a guess"
      : `${percent(pedal.probability)} sure it is there`;
    const knobs = document.createElement("div");
    knobs.className = "knobs";
    for (const knob of kind.knobs) {
      const guess = pedal.unheard?.includes(knob.name);
      const made = makeKnob(who, knob, pedal.settings[knob.name], guess, (value) => {
        pedal.settings[knob.name] = value;
        pedal.unheard = pedal.unheard?.filter((name) => name !== knob.name);
        this.changed();
      });
      made.addEventListener("focusin", () => this.hint(`${knob.label}: ${knob.meaning}`));
      knobs.append(made);
    }
    const tools = document.createElement("div");
    tools.className = "tools";
    const earlier = button("", `Move ${who} towards the guitar`, () => this.step(i, -1));
    earlier.classList.add("earlier");
    earlier.disabled = i === 0;
    const bypass = button("Bypass", `Bypass ${who}`, () => {
      pedal.bypassed = !pedal.bypassed;
      this.draw();
      this.list.children[i].querySelector("[aria-pressed]").focus();
      this.changed();
    }, pedal.bypassed);
    const later = button("", `Move ${who} away from the guitar`, () => this.step(i, 1));
    later.classList.add("later");
    later.disabled = i === this.pedals.length - 1;
    const remove = button("Remove", `Remove ${who}`, () => {
      this.pedals.splice(i, 1);
      this.draw();
      this.say(`${pedal.name} was removed.`);
      (this.list.children[Math.min(i, this.pedals.length - 1)]?.querySelector("button:enabled")
        ?? document.querySelector("#add")).focus();
      this.changed();
    });
    remove.classList.add("remove");
    tools.append(earlier, bypass, later, remove);
    card.append(head, sure, knobs, tools);
    this.between(card, i);
    this.draggable(head, card, i);
    return card;
  }

  /** Drag by the head, with mouse, pen or finger. */
  draggable(head, card, from) {
    let target = null;
    const clear = () => {
      for (const other of this.list.children) other.classList.remove("before", "after", "dragged");
    };
    head.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      head.setPointerCapture(event.pointerId);
      target = from;
      card.classList.add("dragged");
    });
    head.addEventListener("pointermove", (event) => {
      if (target === null) return;
      clear();
      card.classList.add("dragged");
      const under = document.elementFromPoint(event.clientX, event.clientY)?.closest(".card");
      target = under ? [...this.list.children].indexOf(under) : from;
      if (target < 0) target = from;
      if (target !== from) this.list.children[target].classList.add(target < from ? "before" : "after");
    });
    head.addEventListener("pointerup", () => {
      const to = target;
      target = null;
      clear();
      if (to !== null) this.move(from, to);
    });
    head.addEventListener("pointercancel", () => { target = null; clear(); });
  }
}

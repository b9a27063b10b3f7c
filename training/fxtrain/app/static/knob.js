/* A knob: a native range input, which keyboards and screen readers know, under a drawing of a dial. */

const STEPS = 200; // of a knob's travel; an arrow key is 1, Page Up and Down 20
const DRAG_PX = 160; // up or down for the whole travel

export function toUnit(knob, value) {
  const u = knob.scale === "log"
    ? Math.log(value / knob.low) / Math.log(knob.high / knob.low)
    : (value - knob.low) / (knob.high - knob.low);
  return Math.min(1, Math.max(0, u));
}

export function fromUnit(knob, u) {
  let value = knob.scale === "log"
    ? knob.low * (knob.high / knob.low) ** u
    : knob.low + u * (knob.high - knob.low);
  if (knob.scale === "choice") value = Math.round(value);
  return Math.min(knob.high, Math.max(knob.low, Number(value.toPrecision(7))));
}

function short(value) {
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return String(Number(value.toFixed(Math.abs(value) >= 10 ? 1 : 2)));
}

export function reading(knob, value) {
  if (knob.unit === "ratio") return knob.high <= 1 ? `${Math.round(100 * value)}%` : short(value);
  if (knob.unit === "Hz" && value >= 1000) return `${short(value / 1000)} kHz`;
  return `${short(value)} ${knob.unit.replace("FS", "")}`;
}

/** The knob's element; `changed(value)` is called with every move. `guess`: it was not heard. */
export function makeKnob(pedal, knob, value, guess, changed) {
  const box = document.createElement("div");
  box.className = "knob";
  const input = document.createElement("input");
  Object.assign(input, { type: "range", min: 0, max: STEPS, step: 1 });
  input.title = knob.meaning;
  input.setAttribute("aria-label", `${pedal} ${knob.label}`);
  input.dataset.knob = knob.name;
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "-22 -22 44 44");
  svg.setAttribute("aria-hidden", "true");
  const dial = document.createElementNS(svg.namespaceURI, "circle");
  const line = document.createElementNS(svg.namespaceURI, "path");
  for (const [name, set] of Object.entries({ r: 17, fill: "#1b1d20", stroke: "#ffffff", "stroke-opacity": ".55", "stroke-width": 1.5 })) dial.setAttribute(name, set);
  for (const [name, set] of Object.entries({ d: "M0 -5V-15", stroke: "#ffffff", "stroke-width": 3, "stroke-linecap": "round" })) line.setAttribute(name, set);
  svg.append(dial, line);
  const name = document.createElement("span");
  name.textContent = knob.label;
  name.setAttribute("aria-hidden", "true");
  const output = document.createElement("output");
  output.setAttribute("aria-hidden", "true");
  box.append(input, svg, name, output);

  const show = (now) => {
    const text = reading(knob, now);
    output.textContent = guess ? `${text} ?` : text;
    input.setAttribute("aria-valuetext", guess ? `${text}, not heard` : text);
    line.setAttribute("transform", `rotate(${(270 * toUnit(knob, now) - 135).toFixed(1)})`);
  };
  const set = (u) => {
    const now = fromUnit(knob, Math.min(1, Math.max(0, u)));
    guess = false;
    input.value = Math.round(STEPS * toUnit(knob, now));
    show(now);
    changed(now);
  };
  input.value = Math.round(STEPS * toUnit(knob, value));
  show(value);
  input.addEventListener("input", () => set(input.value / STEPS));
  let drag = null;
  input.addEventListener("pointerdown", (event) => {
    event.preventDefault(); // the native slider would jump to where it is touched
    input.focus();
    input.setPointerCapture(event.pointerId);
    drag = { y: event.clientY, u: input.value / STEPS };
  });
  input.addEventListener("pointermove", (event) => {
    if (drag) set(drag.u + (drag.y - event.clientY) / DRAG_PX);
  });
  for (const end of ["pointerup", "pointercancel"]) input.addEventListener(end, () => { drag = null; });
  return box;
}

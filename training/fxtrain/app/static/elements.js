/* The page's elements: one that is there, or a new button. Nothing of what they are for. */

export const at = (id) => document.getElementById(id);

/** `label`: for screen readers, null where the text alone tells; `pressed`: of a switch. */
export function button(text, label, act, pressed) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  if (label !== null) made.setAttribute("aria-label", label);
  if (pressed !== undefined) made.setAttribute("aria-pressed", String(pressed));
  made.addEventListener("click", act);
  return made;
}

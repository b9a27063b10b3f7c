// One sound at a time; one position's table at a time. Without scripts all of them are shown.
for (const player of document.querySelectorAll("audio")) {
  player.addEventListener("play", () => {
    for (const other of document.querySelectorAll("audio")) if (other !== player) other.pause();
  });
}
const choices = [...document.querySelectorAll(".tabs input")];
const panels = [...document.querySelectorAll(".tabs .panel")];
const show = () => panels.forEach((panel, i) => { panel.hidden = !choices[i].checked; });
choices.forEach((choice) => choice.addEventListener("change", show));
show();

/* Ways to give a clip: a file that is chosen or dropped, a recording, the example. */

import { at } from "./elements.js";
import { Recorder } from "./sound.js";
import { busily, fail, say } from "./telling.js";

const NO_INPUT = "This browser finds no microphone or input that it may use. Plug one in, or allow it in the "
  + "browser's settings of this page; or record with another program and choose the file.";
const NOT_FROM_AFAR = "A browser records only on the computer that runs the program. "
  + "Record with another app, then choose the file.";
const NOTHING = "Nothing was recorded. Record for a second or more.";

/** `listen(blob, name)` takes a sound, `example()` plays the built-in guitar; `limits()` says what
    can be taken, or nothing until it is known. */
export function takeClips({ listen, example, limits }) {
  at("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (file) listen(file, file.name);
    target.value = "";
  });
  takeDrops(listen, limits);
  at("example").addEventListener("click", example);
  takeRecordings(listen, limits);
}

/** Anywhere on the page: a file that missed the frame would otherwise take the page's place. */
function takeDrops(listen, limits) {
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
    if (!limits()) fail(new Error("Still getting ready; drop it again in a few seconds."));
    else if (files.length > 1) fail(new Error("That is more than one file; drop one clip at a time."));
    else if (files.length) listen(files[0], files[0].name);
  });
}

function takeRecordings(listen, limits) {
  const button = at("record");
  let recorder = null;
  let asking = false; // the browser whether the input may be used: a second click is no second recording
  // Nor is the second half of a double click on its end.
  button.addEventListener("click", ({ detail }) => !asking && detail < 2 && busily("", async () => {
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
    setTimeout(() => { if (recorder === next) button.click(); }, 1000 * (limits().seconds - 1));
    button.textContent = "Stop recording";
    button.classList.add("primary");
    say("Recording …", "Recording …", true);
  }));
}

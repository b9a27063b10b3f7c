/* Asking the program behind the page; what it refuses or does not answer is thrown as one line. */

import { decoded, wavOf } from "./sound.js";

export const MOST_NAME = 60; // letters of a file's name, as the server cuts it

const gone = () => { throw new Error("The program behind this page does not answer. "
  + "Start it again (fxtrain serve), then load this page again."); };

/** What the page needs to know before the first clip. */
export async function start() {
  const answer = await fetch("/api/start").catch(gone);
  const told = await answer.json().catch(gone);
  if (!answer.ok) throw new Error(told.error);
  return told;
}

export async function ask(path, body, type = "application/json") {
  const answer = await fetch(path, { method: "POST", body, headers: { "Content-Type": type } })
    .then(async (begun) => new Response(await begun.blob(), begun)) // all of it, or none
    .catch(gone);
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({ error: `The answer was ${answer.status}.` }));
  throw Object.assign(new Error(told.error), { status: answer.status });
}

/** A file to `path`; what goes wrong is said of that file. */
export async function send(path, blob, name, limits) {
  try {
    return await handed(path, blob, name, limits);
  } catch (error) {
    error.message = `${name.slice(0, MOST_NAME)}: ${error.message}`;
    throw error;
  }
}

/** What the server cannot read, this browser may. */
async function handed(path, blob, name, limits) {
  if (blob.size > limits.n_bytes) {
    throw new Error(`Larger than ${Math.round(limits.n_bytes / 2 ** 20)} MB; give a shorter clip.`);
  }
  const url = `${path}?name=${encodeURIComponent(name)}`;
  try {
    return await (await ask(url, blob, "application/octet-stream")).json();
  } catch (error) {
    if (error.status !== 422 || !/cannot be read as audio/.test(error.message)) throw error;
    const buffer = await decoded(blob).catch(() => { throw error; });
    const most = limits.seconds;
    if (buffer.duration > most) {
      throw new Error(`This is ${buffer.duration.toFixed(1)} s of sound; ${most} s at most can be used. `
        + "Cut out the part with the guitar.");
    }
    return (await ask(url, wavOf(buffer), "application/octet-stream")).json();
  }
}

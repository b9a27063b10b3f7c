/* Sounds that play together from one clock, of which one is heard: switching changes gains only,
   never positions. All buffers must have one length and one sample rate. No library. */

export const RAMP_S = 0.005;

/** An AudioContext at the sounds' own rate, so that nothing is resampled on the way. */
export function openContext(sampleRateHz) {
  return new AudioContext({ sampleRate: sampleRateHz, latencyHint: "interactive" });
}

export async function fetchSound(context, url) {
  try {
    const answer = await fetch(url, { credentials: "same-origin" });
    if (answer.ok) return await context.decodeAudioData(await answer.arrayBuffer());
  } catch { /* whatever part of it failed */ }
  throw new Error("A sound did not come; try again.");
}

export class LockStep {
  #glides = new Map(); // AudioParam -> its last ramp

  /** `context` may be an OfflineAudioContext. `gain` is the page's volume, 0 to 1. */
  constructor(context, buffers, { gain = 1, ramp = RAMP_S } = {}) {
    const lengths = new Set(buffers.map((buffer) => buffer.length));
    if (lengths.size !== 1) throw new Error(`sounds of ${[...lengths]} samples cannot be switched`);
    this.context = context;
    this.buffers = buffers;
    this.ramp = ramp;
    this.duration = buffers[0].duration;
    this.region = [0, this.duration];
    this.heard = 0;
    this.playing = false;
    this.paused = false; // then the page's volume is faded out
    this.offset = 0; // seconds into the sounds where play goes on
    this.volume = gain;
    this.master = new GainNode(context, { gain });
    this.master.connect(context.destination);
    this.gains = buffers.map((_, i) => {
      const node = new GainNode(context, { gain: i === this.heard ? 1 : 0 });
      node.connect(this.master);
      return node;
    });
    this.sources = [];
  }

  setVolume(gain) {
    this.volume = gain;
    if (!this.paused) this.#glide(this.master.gain, gain, this.context.currentTime);
  }

  /** Start all sounds at one sample; they loop within the region. */
  play(at = this.context.currentTime + 0.01) {
    if (this.playing) return;
    const [start, end] = this.region;
    if (this.offset < start || this.offset >= end) this.offset = start;
    this.sources = this.buffers.map((buffer, i) => {
      const source = new AudioBufferSourceNode(this.context, {
        buffer, loop: true, loopStart: start, loopEnd: end,
      });
      source.connect(this.gains[i]);
      source.start(at, this.offset);
      return source;
    });
    if (this.paused) this.#glide(this.master.gain, this.volume, at);
    this.paused = false;
    this.startedAt = at;
    this.startedFrom = this.offset;
    this.playing = true;
  }

  /** Stop, and remember where. The last five milliseconds fade out. */
  pause() {
    if (!this.playing) return;
    this.offset = this.position();
    const now = this.context.currentTime;
    this.#glide(this.master.gain, 0, now);
    for (const source of this.sources) source.stop(now + this.ramp);
    this.sources = [];
    this.playing = false;
    this.paused = true;
  }

  stop() {
    this.pause();
    this.offset = this.region[0];
  }

  /** Hear sound `i` from time `at` on; the others play on unheard. */
  switchTo(i, at = this.context.currentTime) {
    this.heard = i;
    this.gains.forEach((node, k) => this.#glide(node.gain, k === i ? 1 : 0, at));
  }

  /** Loop between two times in seconds; at least half a second. */
  setRegion(start, end) {
    const from = Math.max(0, Math.min(start, this.duration - 0.5));
    this.region = [from, Math.min(this.duration, Math.max(end, from + 0.5))];
    if (this.playing) {
      this.pause();
      this.play();
    }
  }

  /** Seconds into the sounds. */
  position() {
    if (!this.playing) return this.offset;
    const [start, end] = this.region;
    const run = Math.max(0, this.context.currentTime - this.startedAt) + this.startedFrom;
    return run < end ? run : start + ((run - start) % (end - start));
  }

  close() {
    this.pause();
    setTimeout(() => this.master.disconnect(), 50);
  }

  /** To `value` within the ramp, from wherever the gain is at that time. The value is computed
      here: a ramp without an event right before it would begin at the last event, however old. */
  #glide(param, value, at) {
    const last = this.#glides.get(param) ?? { from: param.value, to: param.value, at: 0, end: 0 };
    const done = last.end > last.at ? Math.min(1, Math.max(0, (at - last.at) / (last.end - last.at))) : 1;
    const from = last.from + done * (last.to - last.from);
    param.cancelScheduledValues(at);
    param.setValueAtTime(from, at);
    param.linearRampToValueAtTime(value, at + this.ramp);
    this.#glides.set(param, { from, to: value, at, end: at + this.ramp });
  }
}

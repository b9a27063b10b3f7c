/* A and B from one clock at one loudness, over the shared lock-step player; wavesurfer draws A. */

import { LockStep, fetchSound, openContext } from "/shared/lockstep.js";
import WaveSurfer from "./vendor/wavesurfer.esm.js";

const nonce = document.querySelector('meta[name="csp-nonce"]').content;

/** Copies of two buffers at one length (the longer's), one channel and one loudness (the lower). */
export function matched(context, a, b) {
  const length = Math.max(a.buffer.length, b.buffer.length);
  const known = [a.lufs, b.lufs].filter((lufs) => lufs !== null);
  const floor = Math.min(...known);
  return [a, b].map(({ buffer, lufs }) => {
    const gain = lufs === null ? 1 : 10 ** ((floor - lufs) / 20);
    const copy = new AudioBuffer({ length, numberOfChannels: 1, sampleRate: context.sampleRate });
    copy.copyToChannel(buffer.getChannelData(0).map((sample) => sample * gain), 0);
    return copy;
  });
}

function colours() {
  const style = getComputedStyle(document.documentElement);
  return { waveColor: style.getPropertyValue("--wave"), progressColor: style.getPropertyValue("--played") };
}

export class Player {
  /** `moved(seconds, duration)` is called while it plays. */
  constructor(place, moved) {
    Object.assign(this, { place, moved, context: null, volume: 0.8, asked: 0, boards: 0 });
    this.stop();
    // The theme may change while a wave is drawn.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.wave?.setOptions(colours()));
  }

  /** Until its sound is there nothing plays; the last one asked for stays. B is silent until it is
      the board of this clip. */
  async setClip(sound, rateHz) {
    this.stop();
    this.b = { buffer: new AudioBuffer({ length: 1, sampleRate: rateHz }), lufs: null };
    const number = ++this.asked;
    if (!this.context || this.context.sampleRate !== rateHz) {
      this.context?.close();
      this.context = openContext(rateHz);
    }
    const buffer = await fetchSound(this.context, sound.url);
    if (number !== this.asked) return;
    this.a = { buffer, lufs: sound.lufs };
    this.wave = WaveSurfer.create({
      container: this.place, height: 96, cspNonce: nonce, interact: false, cursorWidth: 2,
      ...colours(),
      peaks: [this.a.buffer.getChannelData(0)], duration: this.a.buffer.duration,
    });
    this.rebuild();
  }

  async setBoard(sound) {
    const number = ++this.boards;
    const buffer = await fetchSound(this.context, sound.url);
    if (number !== this.boards) return;
    this.b = { buffer, lufs: sound.lufs };
    this.rebuild();
  }

  /** New sounds under the same hands: position, what is heard and whether it plays are kept. */
  rebuild() {
    if (!this.a) return; // the board's sound was quicker than the clip's
    const next = new LockStep(this.context, matched(this.context, this.a, this.b), { gain: this.volume });
    next.offset = Math.min(this.step?.position() ?? 0, next.duration - 0.01);
    this.step?.close(); // not before: what plays plays on while the new sounds are made
    this.step = next;
    if (this.heard) next.switchTo(this.heard);
    if (this.on) next.play();
    this.follow();
  }

  /** Play or pause, at once or as soon as there is a sound; whether it is to play. */
  toggle() {
    this.on = !this.on;
    if (this.on) {
      this.context.resume(); // until then its clock stands still
      this.step?.play();
    } else {
      this.step?.pause();
    }
    this.follow();
    return this.on;
  }

  follow() {
    cancelAnimationFrame(this.frame);
    if (!this.step) return;
    const seconds = this.step.position();
    this.wave.setTime(Math.min(seconds, this.wave.getDuration()));
    this.moved(seconds, this.step.duration);
    if (this.step.playing) this.frame = requestAnimationFrame(() => this.follow());
  }

  hear(i) {
    this.heard = i;
    this.step?.switchTo(i);
  }

  setVolume(gain) {
    this.volume = gain;
    this.step?.setVolume(gain);
  }

  seek(share) {
    if (!this.step) return;
    const playing = this.step.playing;
    this.step.pause();
    this.step.offset = share * (this.step.duration - 0.01);
    this.wave.setTime(Math.min(this.step.offset, this.wave.getDuration()));
    if (playing) this.step.play();
  }

  stop() {
    this.step?.close();
    this.wave?.destroy();
    this.boards += 1; // the sound of a board that is on its way is of another clip
    Object.assign(this, { step: null, wave: null, a: null, b: null, heard: 0, on: false });
  }
}

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
    Object.assign(this, { place, moved, context: null, step: null, a: null, b: null, volume: 0.8, heard: 0,
      asked: 0 });
    // The theme may change while a wave is drawn.
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.wave?.setOptions(colours()));
  }

  /** Until its sound is there nothing plays; the last one asked for stays. */
  async setClip(sound, rateHz) {
    this.stop();
    const number = ++this.asked;
    if (!this.context || this.context.sampleRate !== rateHz) {
      this.context?.close();
      this.context = openContext(rateHz);
    }
    const buffer = await fetchSound(this.context, sound.url);
    if (number !== this.asked) return;
    this.a = { buffer, lufs: sound.lufs };
    this.b = this.a;
    this.wave?.destroy();
    this.wave = WaveSurfer.create({
      container: this.place, height: 96, cspNonce: nonce, interact: false, cursorWidth: 2,
      ...colours(),
      peaks: [this.a.buffer.getChannelData(0)], duration: this.a.buffer.duration,
    });
    this.rebuild();
  }

  async setBoard(sound) {
    const number = this.asked;
    const buffer = await fetchSound(this.context, sound.url);
    if (number !== this.asked) return;
    this.b = { buffer, lufs: sound.lufs };
    this.rebuild();
  }

  /** New sounds under the same hands: position, what is heard and whether it plays are kept. */
  rebuild() {
    const before = this.step;
    const [playing, position] = [before?.playing, before?.position() ?? 0];
    before?.close();
    this.step = new LockStep(this.context, matched(this.context, this.a, this.b), { gain: this.volume });
    this.step.offset = Math.min(position, this.step.duration - 0.01);
    if (this.heard) this.step.switchTo(this.heard);
    if (playing) this.step.play();
    this.moved(this.step.position(), this.step.duration);
  }

  async toggle() {
    if (!this.step) return false;
    if (this.step.playing) {
      this.step.pause();
    } else {
      await this.context.resume();
      this.step.play();
      this.follow();
    }
    return this.step.playing;
  }

  follow() {
    const show = () => {
      if (!this.step) return;
      const seconds = this.step.position();
      this.wave.setTime(Math.min(seconds, this.wave.getDuration()));
      this.moved(seconds, this.step.duration);
      if (this.step.playing) requestAnimationFrame(show);
    };
    requestAnimationFrame(show);
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
    this.step = null;
    this.heard = 0;
  }
}

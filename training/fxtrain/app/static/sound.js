/* Sounds that the server cannot read, and the microphone: made into WAV here. */

/** 16-bit mono WAV bytes of an AudioBuffer. */
export function wavOf(buffer) {
  const n = buffer.length;
  const mono = new Float32Array(n);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    const channel = buffer.getChannelData(c);
    for (let i = 0; i < n; i++) mono[i] += channel[i] / buffer.numberOfChannels;
  }
  const view = new DataView(new ArrayBuffer(44 + 2 * n));
  const text = (at, letters) => [...letters].forEach((l, i) => view.setUint8(at + i, l.charCodeAt(0)));
  text(0, "RIFF"); view.setUint32(4, 36 + 2 * n, true); text(8, "WAVEfmt ");
  view.setUint32(16, 16, true); view.setUint16(20, 1, true); view.setUint16(22, 1, true);
  view.setUint32(24, buffer.sampleRate, true); view.setUint32(28, 2 * buffer.sampleRate, true);
  view.setUint16(32, 2, true); view.setUint16(34, 16, true); text(36, "data"); view.setUint32(40, 2 * n, true);
  for (let i = 0; i < n; i++) view.setInt16(44 + 2 * i, Math.max(-1, Math.min(1, mono[i])) * 32767, true);
  return new Blob([view.buffer], { type: "audio/wav" });
}

/** Whatever this browser can play, as an AudioBuffer. */
export async function decoded(blob) {
  const context = new OfflineAudioContext(1, 1, 44100);
  return context.decodeAudioData(await blob.arrayBuffer());
}

/** Records until stopped. Nothing is cleaned up on the way: a guitar is no voice. */
export class Recorder {
  async start() {
    this.stream = await navigator.mediaDevices.getUserMedia({
      audio: { echoCancellation: false, noiseSuppression: false, autoGainControl: false },
    });
    this.parts = [];
    this.recorder = new MediaRecorder(this.stream);
    this.recorder.addEventListener("dataavailable", (event) => this.parts.push(event.data));
    this.ended = new Promise((done) => this.recorder.addEventListener("stop", done));
    this.recorder.start();
  }

  /** What was recorded, as WAV; where the input was unplugged meanwhile, what came before. */
  async stop() {
    if (this.recorder.state !== "inactive") this.recorder.stop();
    await this.ended;
    for (const track of this.stream.getTracks()) track.stop();
    return wavOf(await decoded(new Blob(this.parts)));
  }
}

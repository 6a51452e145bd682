// From sound to the times at which speech starts and ends, as tinyseq.speech.VoiceDetector finds them.

export const SAMPLE_RATE = 16000;

/** Samples of a chunk, which has one probability: 32 ms. */
export const CHUNK = 512;

/** Samples of the chunk before that the model sees in front of each. */
const CONTEXT = 64;

/** One live stream of sound at 16 kHz. */
export class VoiceDetector {
  /**
   * @param model a Model of silero's detector.
   * @param options threshold: speech starts with a chunk that is at least so probable, and may end with one below
   *   negativeThreshold; shorter speech than minSpeech seconds is none, shorter silence than minSilence is part of
   *   the speech around it; pad seconds are added to speech on both sides.
   */
  constructor(model, { threshold = 0.5, negativeThreshold, minSpeech = 0.25, minSilence = 0.1, pad = 0.03 } = {}) {
    this.threshold = threshold;
    this.negativeThreshold = negativeThreshold ?? Math.max(threshold - 0.15, Math.min(threshold, 0.01));
    [this.minSpeech, this.minSilence, this.pad] = [minSpeech, minSilence, pad].map((s) => Math.round(s * SAMPLE_RATE));
    this.stream = model.stream();
    this.window = new Float32Array(CONTEXT + CHUNK);
    this.reset();
  }

  /** Goes back to the start. */
  reset() {
    this.stream.reset();
    this.window.fill(0);
    this.held = 0; // samples of the next chunk
    this.heard = 0;
    this.ended = 0; // where the last speech has ended, with its padding
    this.start = this.silence = null;
    this.isStarted = false;
  }

  /** Takes sound, a Float32Array of any length: the probability of each whole chunk, and what starts and ends. */
  accept(samples) {
    const heard = { probabilities: [], events: [] };
    for (let at = 0; at < samples.length; ) {
      const part = samples.subarray(at, at + CHUNK - this.held);
      this.window.set(part, CONTEXT + this.held);
      this.held += part.length;
      at += part.length;
      if (this.held === CHUNK) this.hear(CHUNK, heard);
    }
    return heard;
  }

  /** Ends the sound: what is still due. */
  finish() {
    const heard = { probabilities: [], events: [] };
    if (this.held) {
      this.window.fill(0, CONTEXT + this.held);
      this.hear(this.held, heard);
    }
    this.close(this.silence ?? this.heard, heard.events);
    return heard;
  }

  hear(samples, { probabilities, events }) {
    const { output } = this.stream.step({ input: this.window });
    this.window.copyWithin(0, CHUNK);
    this.held = 0;
    probabilities.push(output[0]);
    this.push(output[0], samples, events);
  }

  push(probability, samples, events) {
    const at = this.heard;
    this.heard += samples;
    if (probability >= this.threshold) {
      this.start ??= at;
      this.silence = null;
    } else if (this.start !== null && probability < this.negativeThreshold) {
      this.silence ??= at;
      if (at - this.silence >= this.minSilence) return this.close(this.silence, events);
    }
    if (this.start === null || this.silence !== null || this.isStarted) return;
    if (this.heard - this.start < this.minSpeech) return;
    this.isStarted = true;
    events.push({ kind: "start", seconds: Math.max(this.start - this.pad, this.ended) / SAMPLE_RATE });
  }

  close(end, events) {
    if (this.isStarted) {
      this.ended = Math.min(end + this.pad, this.heard);
      events.push({ kind: "end", seconds: this.ended / SAMPLE_RATE });
    }
    this.isStarted = false;
    this.start = this.silence = null;
  }
}

// The detector where sound arrives: within the browser's audio thread.

import { CHUNK, SAMPLE_RATE, VoiceDetector } from "./detector.mjs";
import { Resampler } from "./resampler.mjs";
import { Model } from "./vad/vad.mjs";

class Voice extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.detector = new VoiceDetector(new Model(processorOptions.code));
    this.resampler = sampleRate === SAMPLE_RATE ? null : new Resampler(sampleRate, SAMPLE_RATE);
    this.chunk = new Float32Array(CHUNK);
    this.held = 0;
    this.isOver = false;
    this.port.onmessage = () => this.end();
  }

  process([channels]) {
    if (this.isOver) return false;
    if (channels.length) {
      const mono = channels[0].map((_, i) => channels.reduce((sum, one) => sum + one[i], 0) / channels.length);
      this.take(this.resampler ? this.resampler.push(mono) : mono);
    }
    return true;
  }

  take(samples) {
    for (const sample of samples) {
      this.chunk[this.held++] = sample;
      if (this.held < CHUNK) continue;
      this.port.postMessage({ samples: this.chunk.slice(), ...this.detector.accept(this.chunk) });
      this.held = 0;
    }
  }

  end() {
    this.isOver = true;
    this.detector.accept(this.chunk.subarray(0, this.held));
    this.port.postMessage({ samples: this.chunk.slice(0, this.held), ...this.detector.finish(), isLast: true });
  }
}

registerProcessor("voice", Voice);

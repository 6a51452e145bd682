// Sound of any rate to another one, block by block: a windowed sinc.

const ZEROS = 24; // of the sinc, on either side

export class Resampler {
  constructor(from, to) {
    this.step = from / to;
    const cut = Math.min(1, to / from) * 0.94;
    this.reach = Math.ceil(ZEROS / cut);
    this.samples = new Float32Array(this.reach); // silence comes first
    this.at = this.reach; // where the next sample of the result lies
    this.weight = (distance) => {
      const x = Math.PI * distance * cut, along = distance / this.reach;
      if (Math.abs(along) >= 1) return 0;
      const hann = 0.5 + 0.5 * Math.cos(Math.PI * along);
      return cut * hann * (x === 0 ? 1 : Math.sin(x) / x);
    };
    this.phases = new Map();
  }

  /** The weights for a place between two samples, kept: of usual rates there are few. */
  weights(phase) {
    const key = Math.round(phase * 4096);
    if (!this.phases.has(key))
      this.phases.set(key, Float32Array.from({ length: 2 * this.reach }, (_, i) =>
        this.weight(i - this.reach + 1 - key / 4096)));
    return this.phases.get(key);
  }

  /** Takes samples; gives those of the other rate that are certain with them. */
  push(samples) {
    const all = new Float32Array(this.samples.length + samples.length);
    all.set(this.samples);
    all.set(samples, this.samples.length);
    const result = [];
    for (; this.at + this.reach < all.length; this.at += this.step) {
      const whole = Math.floor(this.at), weights = this.weights(this.at - whole);
      let sum = 0;
      for (let i = 0; i < weights.length; i++) sum += weights[i] * all[whole - this.reach + 1 + i];
      result.push(sum);
    }
    const gone = Math.max(0, Math.floor(this.at) - this.reach);
    this.samples = all.slice(gone);
    this.at -= gone;
    return Float32Array.from(result);
  }
}

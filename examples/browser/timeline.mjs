// Sound, probability and speech over time, on a canvas.

import { CHUNK, SAMPLE_RATE } from "./detector.mjs";

/** Samples under one peak of the waveform. */
const FINE = 64;
const SECONDS = CHUNK / SAMPLE_RATE;

export class Timeline {
  constructor(canvas, threshold) {
    this.canvas = canvas;
    this.threshold = threshold;
    this.clear();
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  /** Forgets everything. `live` seconds are shown of a live sound; of another one, all. */
  clear(live = 0) {
    this.live = live;
    this.peaks = [];
    this.probabilities = [];
    this.segments = [];
    this.first = 0; // chunks that are not kept any more
    this.cursor = null;
    this.draw();
  }

  /** Takes a chunk's samples, its probability, and what started or ended with it. */
  push(samples, probability) {
    for (let at = 0; at < CHUNK; at += FINE) {
      let peak = 0;
      for (const sample of samples.subarray(at, at + FINE)) peak = Math.max(peak, Math.abs(sample));
      this.peaks.push(peak);
    }
    this.probabilities.push(probability);
    if (!this.live || (this.probabilities.length - 1) * SECONDS < 2 * this.live) return;
    const gone = this.probabilities.length >> 1;
    this.probabilities.splice(0, gone);
    this.peaks.splice(0, (gone * CHUNK) / FINE);
    this.first += gone;
    this.segments = this.segments.filter((one) => one.end === undefined || one.end > this.first * SECONDS);
  }

  mark({ kind, seconds }) {
    if (kind === "start") this.segments.push({ start: seconds });
    else this.segments.at(-1).end = seconds;
  }

  get seconds() {
    return (this.first + this.probabilities.length) * SECONDS;
  }

  draw() {
    const { canvas } = this, scale = devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
    const pen = canvas.getContext("2d"), style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(`--${name}`).trim();
    pen.scale(scale, scale);
    pen.font = "12px system-ui, sans-serif";

    const left = 34, base = height - 20, middle = base * 0.55;
    const end = this.live ? Math.max(this.live, this.seconds) : Math.max(1, this.seconds);
    const begin = this.live ? end - this.live : 0;
    const x = (seconds) => left + ((seconds - begin) / (end - begin)) * (width - left);
    const lower = (value) => base - value * (base - middle - 12);

    pen.fillStyle = colour("soft");
    pen.strokeStyle = colour("line");
    this.grid(pen, x, begin, end, base);
    pen.textAlign = "right";
    for (const value of [0, 1]) pen.fillText(String(value), left - 8, lower(value) + 4);
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, width - left, height);
    pen.clip();

    for (const one of this.segments) {
      const [from, to] = [x(one.start), x(one.end ?? this.seconds)];
      pen.fillStyle = colour("speech");
      pen.fillRect(from, 0, to - from, base);
      pen.fillStyle = colour("accent");
      pen.fillRect(from, 0, 2, base);
      if (one.end !== undefined) pen.fillRect(to - 2, 0, 2, base);
    }
    this.wave(pen, x, colour("wave"), middle / 2);
    pen.setLineDash([4, 4]);
    line(pen, colour("soft"), 1, [[left, lower(this.threshold)], [width, lower(this.threshold)]]);
    pen.setLineDash([]);
    const places = this.probabilities.map((value, i) => [x((this.first + i + 1) * SECONDS), lower(value)]);
    line(pen, colour("probability"), 2, places);
    if (this.cursor !== null) line(pen, colour("ink"), 1.5, [[x(this.cursor), 0], [x(this.cursor), base]]);
    pen.restore();
  }

  grid(pen, x, begin, end, base) {
    const every = [0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600].find((step) => (end - begin) / step <= 12) ?? 7200;
    pen.textAlign = "center";
    for (let at = Math.ceil(begin / every) * every; at <= end; at += every) {
      pen.fillRect(x(at), base, 1, 4);
      if (x(at) < x(end) - 12) pen.fillText(`${at} s`, x(at), base + 16);
    }
    pen.strokeRect(x(begin), 0.5, x(end) - x(begin) - 0.5, base);
  }

  /** The largest peak under each pixel; quiet sound is drawn larger than it is. */
  wave(pen, x, colour, middle) {
    const tops = new Map();
    this.peaks.forEach((peak, i) => {
      const at = Math.floor(x((this.first * CHUNK + i * FINE) / SAMPLE_RATE));
      tops.set(at, Math.max(tops.get(at) ?? 0, Math.min(1, peak)));
    });
    pen.fillStyle = colour;
    for (const [at, top] of tops) {
      const tall = Math.max(0.5, Math.sqrt(top) * (middle - 6));
      pen.fillRect(at, middle - tall, 1, 2 * tall);
    }
  }
}

function line(pen, colour, width, places) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.lineJoin = "round";
  pen.beginPath();
  for (const [at, height] of places) pen.lineTo(at, height);
  pen.stroke();
}

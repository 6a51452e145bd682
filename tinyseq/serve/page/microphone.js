// Sound as it arrives, in chunks of so many samples: runs within the browser's audio thread.
registerProcessor("microphone", class extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.chunk = new Float32Array(processorOptions.size);
    this.held = 0;
  }

  process([channels]) {
    for (let at = 0; at < (channels[0]?.length ?? 0); at++) {
      this.chunk[this.held++] = channels.reduce((sum, one) => sum + one[at], 0) / channels.length;
      if (this.held === this.chunk.length) {
        this.port.postMessage(this.chunk.slice());
        this.held = 0;
      }
    }
    return true;
  }
});

// NAME.mjs: the library NAME.wasm from JavaScript. Made by tinyseq; no dependencies.

const own = INTERFACE;

const ARRAYS = {
  float: Float32Array, int64_t: BigInt64Array, uint64_t: BigUint64Array, int32_t: Int32Array, uint32_t: Uint32Array,
  int16_t: Int16Array, uint16_t: Uint16Array, int8_t: Int8Array, uint8_t: Uint8Array,
};

/** A model: its weights and kernels, and room for any number of streams. */
export class Model {
  /** From a compiled module, at once, as worklets want it. */
  constructor(module) {
    this.library = new WebAssembly.Instance(module).exports;
    this.top = this.library.__heap_base.value;
    this.free = [];
    this.scratch = this.room(own.scratch_bytes);
    this.places = new Map();
    for (const one of [...own.inputs, ...own.outputs]) this.places.set(one.name, this.room(one.most * one.size));
    for (const name of own.held) this.places.set(`${name}.frames`, this.room(8));
  }

  /** From a file, by default the one beside this script. */
  static async load(source = new URL("./NAME.wasm", import.meta.url)) {
    return new Model(await WebAssembly.compileStreaming(fetch(source)));
  }

  /** What tells this model from others: keep it beside snapshots. */
  get fingerprint() {
    return this.library.NAME_fingerprint() >>> 0;
  }

  /** A new stream, at its start. */
  stream() {
    return new Stream(this);
  }

  room(bytes) {
    const at = (this.top + 63) & ~63;
    this.top = at + bytes;
    const missing = this.top - this.library.memory.buffer.byteLength;
    if (missing > 0) this.library.memory.grow(Math.ceil(missing / 65536));
    return at;
  }

  view(one, count) {
    return new ARRAYS[one.type](this.library.memory.buffer, this.places.get(one.name), count);
  }
}

/** A live stream. */
export class Stream {
  constructor(model) {
    this.model = model;
    this.state = model.free.pop() ?? model.room(own.state_bytes * own.rows);
    this.reset();
  }

  /** Puts the stream back to its start. */
  reset() {
    this.model.library.NAME_reset(this.state);
  }

  /** Takes the next chunk, an array for each input by name, and gives a new array for each output. */
  step(inputs = {}) {
    return this.call("step", own.inputs, inputs);
  }

  /** The frames that are due at the end of a stream whose outputs come late. */
  finish(inputs = {}) {
    if (!own.finishes) return {};
    return this.call("finish", own.inputs.filter((one) => !one.has_frames), inputs);
  }

  /** A copy of the state. */
  snapshot() {
    return this.bytes().slice();
  }

  /** Goes back to a snapshot of any stream of this model. */
  restore(saved) {
    if (!(saved instanceof Uint8Array) || saved.length !== own.state_bytes * own.rows)
      throw new TypeError(`a snapshot of NAME is a Uint8Array of ${own.state_bytes * own.rows} bytes`);
    this.bytes().set(saved);
  }

  /** Gives the stream's memory to the next one; this one is of no use any more. */
  close() {
    if (this.state) this.model.free.push(this.state);
    this.state = 0;
  }

  bytes() {
    if (!this.state) throw new Error("this stream of NAME has been closed");
    return new Uint8Array(this.model.library.memory.buffer, this.state, own.state_bytes * own.rows);
  }

  call(kind, taken, inputs) {
    const { model } = this;
    this.bytes();
    let frames;
    for (const one of taken) {
      const given = inputs[one.name];
      if (one.by_value) {
        if (typeof given !== (one.type.endsWith("64_t") ? "bigint" : "number"))
          throw new TypeError(`${one.name} is a ${one.type}`);
        continue;
      }
      if (!(given instanceof ARRAYS[one.type])) throw new TypeError(`${one.name} is a ${ARRAYS[one.type].name}`);
      const here = own.takes_frames && one.varies ? given.length / (one.most / own.frames) : own.frames;
      const fits = own.takes_frames && one.varies ? Number.isInteger(here) && here > 0 : given.length === one.most;
      if (!fits || given.length > one.most || (one.varies && frames !== undefined && frames !== here))
        throw new RangeError(`${one.name} holds ${given.length} numbers; ${one.sizes} are ${one.most} at the most`);
      if (one.varies) frames = here;
      model.view(one, given.length).set(given);
    }
    const code = model.library[`NAME_${kind}`](
      this.state, model.scratch, ...(own.takes_frames && kind === "step" ? [BigInt(frames ?? own.frames)] : []),
      ...taken.map((one) => (one.by_value ? inputs[one.name] : model.places.get(one.name))),
      ...own.outputs.map((one) => model.places.get(one.name)),
      ...own.held.map((name) => model.places.get(`${name}.frames`)));
    if (code < 0) throw new Error(this.words(code));
    return Object.fromEntries(own.outputs.map((one) => [one.name, model.view(one, this.count(one, frames)).slice()]));
  }

  count(one, frames) {
    if (!one.varies) return one.most;
    if (!own.held.includes(one.name)) return (one.most / own.frames) * frames;
    const words = new DataView(this.model.library.memory.buffer);
    return one.a_frame * Number(words.getBigInt64(this.model.places.get(`${one.name}.frames`), true));
  }

  words(code) {
    const all = new Uint8Array(this.model.library.memory.buffer);
    const at = this.model.library.NAME_error(code);
    return new TextDecoder().decode(all.slice(at, all.indexOf(0, at)));
  }
}

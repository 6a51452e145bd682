// NAME.mjs: the model in NAME.wasm, from JavaScript. Made by tinyseq; no dependencies.

const own = INTERFACE;

const ARRAYS = {
  float: Float32Array, int64_t: BigInt64Array, uint64_t: BigUint64Array, int32_t: Int32Array, uint32_t: Uint32Array,
  int16_t: Int16Array, uint16_t: Uint16Array, int8_t: Int8Array, uint8_t: Uint8Array,
};
const STATES = own.state_bytes * own.rows;
const NAMES = new Set(own.inputs.map((one) => one.name));
const LAST_INPUTS = own.inputs.filter((one) => !one.has_frames);

/** What a snapshot begins with: a mark, the fingerprint of the model and a checksum, each of four bytes. */
const HEAD = 12;
const MARK = 0x31717374;

/** What is given to a model does not fit it. */
export class FeedError extends Error {
  get name() {
    return "FeedError";
  }
}

/** A snapshot does not fit the stream that it is given to, or a stream has been closed. */
export class StateError extends Error {
  get name() {
    return "StateError";
  }
}

/** A file cannot be read, or this engine cannot run it, or it is not NAME.wasm. */
export class ModelError extends Error {
  get name() {
    return "ModelError";
  }
}

/** A model: its weights and kernels, and room for any number of streams. */
export class Model {
  /** From the bytes of NAME.wasm or a compiled module, at once, as worklets and workers want it. */
  constructor(source) {
    this.library = instantiated(source).exports;
    this.top = this.library.__heap_base.value;
    this.free = [];
    this.scratch = this.room(own.scratch_bytes);
    this.inputs = own.inputs.map((one) => this.room(one.most * one.size));
    this.outputs = own.outputs.map((one) => this.room(one.most * one.size));
    this.held = own.held.map(() => this.room(8));
  }

  /** From the bytes of NAME.wasm, a compiled module, or a file, by default the one beside this script. */
  static async load(source = new URL("./NAME.wasm", import.meta.url)) {
    const isName = typeof source === "string" || source instanceof URL;
    try {
      const code = isName ? await contents(source) : source;
      return new Model(code instanceof WebAssembly.Module ? code : await WebAssembly.compile(code));
    } catch (error) {
      throw refused(error);
    }
  }

  /** What tells this model from others. Snapshots hold it. */
  get fingerprint() {
    return this.library.NAME_fingerprint() >>> 0;
  }

  /** A new stream, at its start. */
  stream() {
    return new Stream(this);
  }

  room(bytes) {
    const at = (this.top + 63) & ~63;
    const missing = at + bytes - this.library.memory.buffer.byteLength;
    try {
      if (missing > 0) this.library.memory.grow(Math.ceil(missing / 65536));
    } catch {
      throw new ModelError("there is no memory for another stream of NAME; close() those that are not needed");
    }
    this.top = at + bytes;
    return at;
  }

  array(type, at, count) {
    return new ARRAYS[type](this.library.memory.buffer, at, count);
  }

  words(code) {
    const all = this.array("uint8_t", 0);
    const at = this.library.NAME_error(code) >>> 0;
    // Worklets have no TextDecoder.
    const text = all.subarray(at, all.indexOf(0, at));
    return decodeURIComponent(Array.from(text, (byte) => `%${byte.toString(16).padStart(2, "0")}`).join(""));
  }
}

/** A live stream. */
export class Stream {
  constructor(model) {
    this.model = model;
    this.state = model.free.pop() ?? model.room(STATES);
    this.reset();
  }

  /** Goes back to the start. */
  reset() {
    this.open();
    this.model.library.NAME_reset(this.state);
  }

  /** Takes the next chunk, an array for each input by name, and gives a new array for each output. */
  step(inputs) {
    return this.call("step", own.inputs, inputs);
  }

  /** The frames that are due at the end of a stream whose outputs come late. */
  finish(inputs = {}) {
    this.open();
    return own.finishes ? this.call("finish", LAST_INPUTS, inputs) : {};
  }

  /** A copy of the state. */
  snapshot() {
    const state = this.open();
    const saved = new Uint8Array(HEAD + STATES);
    const head = new DataView(saved.buffer);
    head.setUint32(0, MARK, true);
    head.setUint32(4, this.model.fingerprint, true);
    head.setUint32(8, checksum(state), true);
    saved.set(state, HEAD);
    return saved;
  }

  /** Goes back to a snapshot of any stream of this model. */
  restore(saved) {
    const state = this.open();
    if (!(saved instanceof Uint8Array) || saved.length !== HEAD + STATES)
      throw new StateError(`a snapshot of NAME is a Uint8Array of ${HEAD + STATES} bytes, not ${said(saved)}`);
    const head = new DataView(saved.buffer, saved.byteOffset);
    if (head.getUint32(0, true) === MARK && head.getUint32(4, true) !== this.model.fingerprint)
      throw new StateError("the snapshot is of another model than NAME; the stream is as before");
    const bytes = saved.subarray(HEAD);
    if (head.getUint32(0, true) !== MARK || head.getUint32(8, true) !== checksum(bytes))
      throw new StateError("the snapshot is damaged; the stream is as before");
    state.set(bytes);
  }

  /** Gives the stream's memory to the next one; this one is of no use any more. */
  close() {
    if (this.state) this.model.free.push(this.state);
    this.state = 0;
  }

  open() {
    if (!this.state) throw new StateError("this stream of NAME has been closed; make another by stream()");
    return this.model.array("uint8_t", this.state, STATES);
  }

  call(kind, taken, inputs) {
    this.open();
    const { model, state } = this;
    if (typeof inputs !== "object" || inputs === null)
      throw new FeedError(`inputs are given by name, as { ${[...NAMES].join(", ")} }, not ${said(inputs)}`);
    for (const name in inputs)
      if (!NAMES.has(name)) throw new FeedError(`NAME has no input ${name}; it has ${[...NAMES].join(", ")}`);
    const frames = framesOf(taken, inputs);
    const words = [state, model.scratch];
    if (own.takes_frames && kind === "step") words.push(BigInt(frames));
    for (const one of taken) {
      const given = inputs[one.name], at = model.inputs[own.inputs.indexOf(one)];
      if (!one.by_value) model.array(one.type, at, given.length).set(given);
      words.push(one.by_value ? given : at);
    }
    const code = model.library[`NAME_${kind}`](...words, ...model.outputs, ...model.held);
    if (code < 0) throw new FeedError(model.words(code));
    const results = {};
    own.outputs.forEach((one, place) => {
      results[one.name] = model.array(one.type, model.outputs[place], this.count(one, frames)).slice();
    });
    return results;
  }

  count(one, frames) {
    const place = own.held.indexOf(one.name);
    if (!one.varies) return one.most;
    if (place < 0) return one.a_frame * frames;
    return one.a_frame * Number(this.model.array("int64_t", this.model.held[place], 1)[0]);
  }
}

/** Checks inputs; gives how many frames they hold. */
function framesOf(taken, inputs) {
  let frames = own.frames, from;
  for (const one of taken) {
    const given = inputs[one.name];
    if (one.by_value) {
      if (!isNumber(one.type, given)) throw new FeedError(`${one.name} is a number, ${one.type}, not ${said(given)}`);
      continue;
    }
    if (!(given instanceof ARRAYS[one.type]))
      throw new FeedError(`${one.name} is a ${ARRAYS[one.type].name} of ${one.sizes}, not ${said(given)}`);
    if (!one.varies) {
      if (given.length === one.most) continue;
      throw new FeedError(`${one.name} holds ${one.most} numbers, ${one.sizes}, not ${given.length}`);
    }
    const here = given.length / one.a_frame;
    if (!Number.isInteger(here) || here < 1 || here > own.frames)
      throw new FeedError(
        `${one.name} holds ${one.a_frame} numbers a frame, ${one.sizes}, of 1 to ${own.frames} frames; not ${given.length}`);
    if (from && here !== frames)
      throw new FeedError(`${one.name} holds ${here} frames, and ${from} ${frames}`);
    [frames, from] = [here, one.name];
  }
  return frames;
}

function isNumber(type, given) {
  if (type === "float") return typeof given === "number";
  const single = new ARRAYS[type](1);
  if (typeof given !== typeof single[0]) return false;
  single[0] = given;
  return single[0] === given;
}

function said(given) {
  const kind = given?.constructor?.name ?? String(given);
  if (typeof given === "number" || typeof given === "bigint") return String(given);
  return given?.length === undefined ? kind : `${kind} of ${given.length}`;
}

/** FNV-1a. */
function checksum(bytes) {
  let sum = 0x811c9dc5;
  for (const byte of bytes) sum = Math.imul(sum ^ byte, 0x01000193);
  return sum >>> 0;
}

function instantiated(source) {
  try {
    const module = source instanceof WebAssembly.Module ? source : new WebAssembly.Module(source);
    const offered = WebAssembly.Module.exports(module).map((one) => one.name);
    if (!offered.includes("NAME_step")) throw new ModelError("this module is not NAME.wasm");
    return new WebAssembly.Instance(module);
  } catch (error) {
    throw refused(error);
  }
}

function refused(error) {
  if (error instanceof ModelError) return error;
  return new ModelError(`NAME cannot be loaded, or this engine cannot run it: ${error.message}`, { cause: error });
}

/** The bytes of a file: of node's own, or fetched. */
async function contents(source) {
  const isLocal = source instanceof URL ? source.protocol === "file:" : !/^[a-z][\w+.-]+:/i.test(source);
  const files = isLocal ? globalThis.process?.getBuiltinModule?.("node:fs/promises") : undefined;
  if (files) return files.readFile(source);
  const response = await fetch(source);
  if (!response.ok) throw new ModelError(`${source} cannot be read: ${response.status} ${response.statusText}`);
  return response.arrayBuffer();
}

// Runs the steps that a file holds through a module, each also on a copy of the state.
import { readFileSync, writeFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";

const [module_file, interface_file, given_file, results_file] = process.argv.slice(2);
const own = JSON.parse(readFileSync(interface_file));
const code = readFileSync(module_file);
// Before version 21, node has relaxed vectors only when it is asked for them.
if (!WebAssembly.validate(code)) setFlagsFromString("--experimental-wasm-relaxed-simd");
const module = new WebAssembly.Module(code);
if (WebAssembly.Module.imports(module).length) throw new Error("the module imports something");
const library = new WebAssembly.Instance(module).exports;
let top = library.__heap_base.value;
const room = (bytes) => {
  const at = (top + 63) & ~63;
  top = at + bytes;
  const missing = top - library.memory.buffer.byteLength;
  if (missing > 0) library.memory.grow(Math.ceil(missing / 65536));
  return at;
};
const size = own.state_bytes * own.rows;
const state = room(size), copy = room(size), scratch = room(own.scratch_bytes), again = room(own.scratch_bytes);
const inputs = own.inputs.map((one) => ({ ...one, at: room(one.most * one.size) }));
const outputs = own.outputs.map((one) => ({ ...one, at: room(one.most * one.size), twice: room(one.most * one.size) }));
const held = own.held.map(() => room(8));
const bytes = new Uint8Array(library.memory.buffer);
const words = new DataView(library.memory.buffer);
const value = (one) => {
  const kinds = { float: "Float32", int64_t: "BigInt64", uint64_t: "BigUint64", int32_t: "Int32", uint32_t: "Uint32",
    int16_t: "Int16", uint16_t: "Uint16", int8_t: "Int8", uint8_t: "Uint8" };
  return words[`get${kinds[one.type]}`](one.at, true);
};
const call = (kind, frames, state, scratch, twice) => library[`${own.name}_${kind}`](
  state, scratch, ...(own.takes_frames && kind === "step" ? [frames] : []),
  ...inputs.filter((one) => kind === "step" || !one.has_frames).map((one) => (one.by_value ? value(one) : one.at)),
  ...outputs.map((one) => (twice ? one.twice : one.at)), ...held);
const same = (a, b, count) => {
  for (let i = 0; i < count; i++) if (bytes[a + i] !== bytes[b + i]) throw new Error("a copy of the state gives other bits");
};

const given = readFileSync(given_file);
const results = [];
library[`${own.name}_reset`](state);
for (let place = 0; place < given.length; ) {
  const kind = Number(given.readBigInt64LE(place)), frames = given.readBigInt64LE(place + 8);
  place += 16;
  bytes.copyWithin(copy, state, state + size);
  for (const one of inputs) {
    bytes.set(given.subarray(place, place + one.most * one.size), one.at);
    place += one.most * one.size;
  }
  let code = 0;
  if (kind === 2) {
    library[`${own.name}_reset`](state);
    library[`${own.name}_reset`](copy);
  } else {
    const name = kind === 1 ? "finish" : "step";
    code = call(name, frames, state, scratch, false);
    if (call(name, frames, copy, again, true) !== code) throw new Error("a copy of the state fails otherwise");
  }
  same(state, copy, size);
  const head = Buffer.alloc(8);
  head.writeBigInt64LE(BigInt(code));
  results.push(head);
  for (const one of outputs) {
    if (code >= 0 && kind !== 2) same(one.at, one.twice, one.most * one.size);
    results.push(Buffer.from(bytes.slice(one.at, one.at + one.most * one.size)));
  }
  for (const at of held) results.push(Buffer.from(bytes.slice(at, at + 8)));
}
results.push(Buffer.from(bytes.slice(state, state + size)));
writeFileSync(results_file, Buffer.concat(results));

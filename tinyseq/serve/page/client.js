// A live stream of a model: step() sends a chunk and gives the model's outputs, arrays by name.
export async function openStream(model, { base = globalThis.location?.origin, token } = {}) {
  const address = new URL(`/v2/models/${model}/stream`, base.replace(/^http/, "ws"));
  const socket = new WebSocket(address, ["tinyseq.v1", ...(token ? [`bearer.${token}`] : [])]);
  const waiting = [];
  let outputs = [], header = "";
  const answer = () => new Promise((resolve, reject) => waiting.push({ resolve, reject }));
  const read = (data) => {
    const size = new DataView(data).getUint32(0, true);
    if (size) ({ outputs } = JSON.parse(new TextDecoder().decode(data.slice(4, 4 + size))));
    let at = 4 + size; // FP32 is what audio models give; see the docs for other types.
    return Object.fromEntries(outputs.map(({ name, shape }) => {
      const end = at + 4 * shape.reduce((all, one) => all * one, 1);
      return [name, new Float32Array(data.slice(at, (at = end)))];
    }));
  };
  socket.binaryType = "arraybuffer";
  socket.onmessage = ({ data }) => {
    const told = typeof data === "string" ? JSON.parse(data) : read(data), { resolve, reject } = waiting.shift();
    told.type === "error" ? reject(new Error(told.error)) : resolve(told);
  };
  socket.onclose = ({ code, reason }) => waiting.splice(0).forEach(({ reject }) => reject(new Error(`${code} ${reason}`)));
  return { ready: await answer(), close: () => socket.close(), step };

  function step(name, shape, samples) {
    const text = JSON.stringify({ inputs: [{ name, shape, datatype: "FP32" }] });
    const head = new TextEncoder().encode(text === header ? "" : (header = text));
    const message = new Uint8Array(4 + head.length + samples.byteLength);
    new DataView(message.buffer).setUint32(0, head.length, true);
    message.set(head, 4);
    message.set(new Uint8Array(samples.buffer, samples.byteOffset, samples.byteLength), 4 + head.length);
    socket.send(message);
    return answer();
  }
}

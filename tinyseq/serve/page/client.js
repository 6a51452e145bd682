// A live stream of a model: step() sends a chunk of samples and gives the model's outputs, arrays by name.
export async function openStream(model, inputs, { base = globalThis.location?.origin, token } = {}) {
  const protocols = ["tinyseq.v1", ...(token ? [`bearer.${token}`] : [])];
  const socket = new WebSocket(`${base.replace(/^http/, "ws")}/v2/models/${model}/stream`, protocols);
  const waiting = [], answer = () => new Promise((resolve, reject) => waiting.push([resolve, reject]));
  let outputs, header = new TextEncoder().encode(JSON.stringify({ inputs }));
  socket.binaryType = "arraybuffer";
  socket.onclose = socket.onerror = ({ code, reason }) =>
    waiting.splice(0).forEach(([, reject]) => reject(Error(code ? `closed: ${code} ${reason}` : "no connection")));
  socket.onmessage = ({ data }) => {
    const [resolve, reject] = waiting.shift(), text = typeof data === "string" && JSON.parse(data);
    if (text) return text.type === "error" ? reject(Error(text.error)) : resolve(text);
    const size = new DataView(data).getUint32(0, true); // 0: outputs lie as in the answer before
    if (size) ({ outputs } = JSON.parse(new TextDecoder().decode(data.slice(4, 4 + size))));
    let at = 4 + size;
    const array = (shape) => new Float32Array(data.slice(at, (at += 4 * shape.reduce((all, one) => all * one, 1))));
    resolve(Object.fromEntries(outputs.map(({ name, shape }) => [name, array(shape)])));
  };
  const step = (samples) => {
    socket.send(new Blob([Uint32Array.of(header.length), header, samples]));
    header = new Uint8Array(); // from now on chunks lie as the one before
    return answer();
  };
  return { ready: await answer(), step, close: () => socket.close() };
}

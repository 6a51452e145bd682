import { openStream } from "./client.js";

const PERIOD = 1000; // milliseconds between two looks at the server
const RATE = 16000, CHUNK = 512, CONTEXT = 64; // of the voice detector
const KEPT = 320; // chunks that are shown: ten seconds

const $ = (id) => document.getElementById(id);
let token = sessionStorage.getItem("token") ?? undefined;
let before, detector;

async function look() {
  let found;
  try {
    found = await fetch("status", { headers: token ? { authorization: `Bearer ${token}` } : {} });
  } catch {
    $("state").textContent = "The server does not answer.";
    return;
  }
  $("login").hidden = found.status !== 401;
  $("numbers").hidden = !found.ok;
  if (!found.ok) {
    $("state").textContent = found.status === 401 ? "This server wants a bearer token." : `The server answers ${found.status}.`;
    return;
  }
  show(await found.json());
}

function show(status) {
  const hours = status.seconds / 3600;
  const since = hours < 1 ? `${Math.floor(60 * hours)} minutes` : `${hours.toFixed(1)} hours`;
  $("state").textContent = status.draining ? "Ends: takes no new streams." : `Serves since ${since}.`;
  const served = [...status.models.map((one) => ({ ...one, kind: `version ${one.version}` })), ...status.speech];
  const chunks = served.reduce((sum, one) => sum + one.chunks, 0);
  $("streams").textContent = `${status.streams} of ${status.limits.streams}`;
  $("connections").textContent = status.connections;
  if (before) $("rate").textContent = Math.round((chunks - before.chunks) / (status.seconds - before.seconds));
  $("refused").textContent = Object.values(status.refused).reduce((sum, one) => sum + one, 0);
  before = { chunks, seconds: status.seconds };
  const time = (value) => (value === null ? "–" : `≤ ${value} ms`);
  $("served").tBodies[0].replaceChildren(...served.map((one) => row(
    one.ready ? one.name : `${one.name} (ends)`, one.kind, one.streams, one.opened, one.chunks,
    one.rows_per_step ?? "–", time(one.p50_ms), time(one.p99_ms))));
  detector ??= status.models.find(hearsVoice);
  $("live").hidden = !detector;
}

function row(...cells) {
  const line = document.createElement("tr");
  line.append(...cells.map((text) => Object.assign(document.createElement("td"), { textContent: text })));
  return line;
}

const INPUTS = [
  { name: "input", datatype: "FP32", shape: [1, CONTEXT + CHUNK] },
  { name: "sr", datatype: "INT64", shape: [], data: [RATE] },
];

/** Whether a model takes chunks of 16 kHz sound as silero's detector does. */
function hearsVoice({ can_stream, inputs, outputs }) {
  const names = inputs.map(({ name }) => name).join();
  return can_stream && ["input", "input,sr"].includes(names) && inputs[0].shape.length === 2 && outputs[0]?.name === "output";
}

const heard = [];
let listening;

async function listen() {
  const context = new AudioContext({ sampleRate: RATE });
  const media = await navigator.mediaDevices.getUserMedia({ audio: true });
  const inputs = INPUTS.slice(0, detector.inputs.length);
  const stream = await openStream(detector.name, inputs, { token });
  const window = new Float32Array(CONTEXT + CHUNK), trips = [];
  await context.audioWorklet.addModule("microphone.js");
  const microphone = new AudioWorkletNode(context, "microphone", { processorOptions: { size: CHUNK } });
  const stop = () => {
    listening = undefined;
    stream.close();
    media.getTracks().forEach((track) => track.stop());
    context.close();
    $("listen").textContent = "Listen";
  };
  microphone.port.onmessage = async ({ data }) => {
    window.copyWithin(0, CHUNK);
    window.set(data, CONTEXT);
    const begin = performance.now();
    try {
      const [probability] = Object.values(await stream.step(window))[0];
      if (!listening) return;
      trips.push(performance.now() - begin);
      trips.splice(0, trips.length - 100);
      tell(probability, trips);
    } catch (error) {
      if (!listening) return;
      stop();
      $("verdict").textContent = `The stream has ended: ${error.message}`;
    }
  };
  context.createMediaStreamSource(media).connect(microphone);
  listening = stop;
  $("listen").textContent = "Stop";
}

function tell(probability, trips) {
  heard.push(probability);
  heard.splice(0, heard.length - KEPT);
  const speaks = probability >= 0.5;
  $("verdict").textContent = speaks ? "Speech" : "Silence";
  $("verdict").classList.toggle("speech", speaks);
  const middle = [...trips].sort((a, b) => a - b)[trips.length >> 1];
  $("trip").textContent = `There and back in ${middle.toFixed(1)} ms, in the middle of the last ${trips.length}.`;
  draw();
}

function draw() {
  const canvas = $("timeline"), pen = canvas.getContext("2d"), style = getComputedStyle(document.documentElement);
  const width = canvas.width / KEPT;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  heard.forEach((probability, place) => {
    const height = Math.max(2, probability * canvas.height);
    pen.fillStyle = style.getPropertyValue(probability >= 0.5 ? "--accent" : "--silence");
    pen.fillRect(place * width, canvas.height - height, width - 0.5, height);
  });
}

$("listen").addEventListener("click", async () => {
  if (listening) {
    listening();
    $("verdict").textContent = "Not listening.";
    return;
  }
  try {
    await listen();
  } catch (error) {
    $("verdict").textContent = `Cannot listen: ${error.message}`;
  }
});
$("login").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value;
  sessionStorage.setItem("token", token);
  look();
});
look();
setInterval(look, PERIOD);
globalThis.heard = heard; // for tests and for the curious

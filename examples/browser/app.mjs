// The page: what its buttons do, and what it shows.

import { CHUNK, SAMPLE_RATE, VoiceDetector } from "./detector.mjs";
import { Timeline } from "./timeline.mjs";

const LIVE_SECONDS = 10;
const LONGEST_LIST = 200;
const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((one) => [one.id, one]));

let model, code, timeline, live;
let turn = 0; // counts what is heard, so that a later file ends an earlier one

function say(text, isWrong = false) {
  page.status.textContent = text;
  page.status.classList.toggle("is-wrong", isWrong);
}

const time = (seconds) => `${seconds.toFixed(2)} s`;

function begin(liveSeconds = 0) {
  timeline.clear(liveSeconds);
  page.segments.replaceChildren();
  page.nothing.hidden = false;
  page.player.pause();
  page.player.hidden = true;
  show({ probabilities: [], events: [] });
}

/** Shows what was heard in a chunk. */
function show({ probabilities, events }) {
  for (const event of events) {
    timeline.mark(event);
    if (event.kind === "start") list(event.seconds);
    else endOfLast(event.seconds);
  }
  const isSpeech = timeline.segments.length > 0 && timeline.segments.at(-1).end === undefined;
  const last = probabilities.at(-1) ?? 0;
  page.probability.value = last;
  page.number.textContent = last.toFixed(2);
  page.state.textContent = isSpeech ? "speech" : "silence";
  page.state.classList.toggle("is-speech", isSpeech);
}

function list(start) {
  const row = page.segments.insertRow(live ? 0 : -1);
  for (const text of [time(start), "…", ""]) row.insertCell().textContent = text;
  row.dataset.start = start;
  page.nothing.hidden = true;
  if (page.segments.rows.length > LONGEST_LIST) page.segments.deleteRow(live ? -1 : 0);
}

function endOfLast(end) {
  const row = page.segments.rows[live ? 0 : page.segments.rows.length - 1];
  row.dataset.end = end;
  row.cells[1].textContent = time(end);
  row.cells[2].textContent = time(end - row.dataset.start);
}

function draw() {
  timeline.draw();
  const count = timeline.segments.length;
  const seconds = timeline.seconds.toFixed(1);
  page.timeline.setAttribute("aria-label", `${seconds} seconds of sound with ${count} stretches of speech`);
}

function drawWhileLive() {
  if (!live) return;
  draw();
  requestAnimationFrame(drawWhileLive);
}

/** Hears a whole file. */
async function hear(file) {
  await stop();
  const own = ++turn;
  say(`Reading ${file.name} …`);
  let samples;
  try {
    samples = mono(await new OfflineAudioContext(1, 1, SAMPLE_RATE).decodeAudioData(await file.arrayBuffer()));
  } catch (error) {
    return say(`${file.name} cannot be read as sound: ${error.message}. Give a WAV, FLAC, Ogg or MP3 file.`, true);
  }
  if (own !== turn) return;
  begin();
  const detector = new VoiceDetector(model);
  let spent = 0, shown = performance.now();
  try {
    for (let at = 0; at < samples.length; at += CHUNK) {
      const part = samples.subarray(at, at + CHUNK);
      const from = performance.now();
      const heard = detector.accept(part);
      if (at + CHUNK >= samples.length) {
        const due = detector.finish();
        heard.probabilities.push(...due.probabilities);
        heard.events.push(...due.events);
      }
      spent += performance.now() - from;
      timeline.push(part, heard.probabilities.at(-1));
      show(heard);
      if (from - shown < 100) continue;
      draw();
      await new Promise(requestAnimationFrame);
      if (own !== turn) return;
      shown = performance.now();
    }
  } catch (error) {
    return say(`${file.name} cannot be heard: ${error.message}`, true);
  } finally {
    detector.stream.close();
    if (own === turn) draw();
  }
  say(`${file.name}: ${(samples.length / SAMPLE_RATE).toFixed(1)} s of sound, heard in ${(spent / 1000).toFixed(3)} s.`);
  URL.revokeObjectURL(page.player.src);
  page.player.src = URL.createObjectURL(file);
  page.player.hidden = false;
}

function mono(sound) {
  const channels = Array.from({ length: sound.numberOfChannels }, (_, i) => sound.getChannelData(i));
  if (channels.length === 1) return channels[0];
  return channels[0].map((_, i) => channels.reduce((sum, one) => sum + one[i], 0) / channels.length);
}

async function listen() {
  if (live) return stop();
  say("Asking for the microphone …");
  let context, microphone;
  try {
    microphone = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
    context = new AudioContext();
    await context.audioWorklet.addModule(new URL("worklet.mjs", import.meta.url));
  } catch (error) {
    microphone?.getTracks().forEach((track) => track.stop());
    context?.close();
    return say(`The microphone cannot be heard: ${error.message}`, true);
  }
  turn += 1;
  const options = { numberOfOutputs: 0, processorOptions: { code } };
  const node = new AudioWorkletNode(context, "voice", options);
  live = { context, microphone, node };
  begin(LIVE_SECONDS);
  node.port.onmessage = ({ data }) => {
    if (data.probabilities.length) timeline.push(data.samples, data.probabilities.at(-1));
    show(data);
    if (data.isLast) live?.ended();
  };
  node.onprocessorerror = () => {
    stop();
    say("The detector failed in the audio thread.", true);
  };
  context.createMediaStreamSource(microphone).connect(node);
  page.listen.setAttribute("aria-pressed", "true");
  page.listen.textContent = "Stop listening";
  say("Listening. Say something.");
  drawWhileLive();
}

/** Ends listening; what was heard stays. */
async function stop() {
  if (!live) return;
  const { context, microphone, node } = live;
  const ended = new Promise((resolve) => {
    live.ended = resolve;
    setTimeout(resolve, 500);
  });
  node.port.postMessage("end");
  await ended;
  microphone.getTracks().forEach((track) => track.stop());
  await context.close();
  live = undefined;
  page.listen.removeAttribute("aria-pressed");
  page.listen.textContent = "Listen to the microphone";
  say("Stopped.");
  draw();
}

/** Hears noise for a moment, which also lets the browser compile the model well, and tells what a chunk takes. */
function measure() {
  const stream = model.stream(), times = [];
  const input = Float32Array.from({ length: CHUNK + 64 }, () => Math.random() - 0.5);
  for (let turn = 0; turn < 40; turn++) {
    const from = performance.now();
    for (let chunk = 0; chunk < 10; chunk++) stream.step({ input });
    times.push((performance.now() - from) / 10);
  }
  stream.close();
  const median = times.sort((a, b) => a - b)[20];
  const real = (1000 * CHUNK) / SAMPLE_RATE / median;
  page.speed.textContent =
    `A chunk of 32 ms takes ${(1000 * median).toFixed(0)} µs on this machine: ${real.toFixed(0)} times real time.`;
}

function follow() {
  timeline.cursor = page.player.currentTime;
  draw();
  if (!page.player.paused) requestAnimationFrame(follow);
}

function connect() {
  page.listen.onclick = async () => {
    page.listen.disabled = true;
    await listen();
    page.listen.disabled = false;
  };
  page.open.onclick = () => page.file.click();
  page.file.onchange = () => page.file.files.length && hear(page.file.files[0]).finally(() => (page.file.value = ""));
  page.player.onplay = page.player.onseeked = follow;
  addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("is-target");
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("is-target"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.classList.remove("is-target");
    if (event.dataTransfer.files.length) hear(event.dataTransfer.files[0]);
  });
  page.listen.disabled = page.open.disabled = false;
}

try {
  // Where the page was not built, this is the first file that is missing.
  const { Model } = await import("./vad/vad.mjs");
  code = await (await fetch(new URL("vad/vad.wasm", import.meta.url))).arrayBuffer();
  model = await Model.load(code);
  timeline = new Timeline(page.timeline, 0.5);
  connect();
  say("Ready.");
  measure();
} catch (error) {
  say(`The model cannot be loaded: ${error.message}. README.md says how it is built.`, true);
}

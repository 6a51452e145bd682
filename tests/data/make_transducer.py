"""Trains a transducer on spoken digits and records what it hears, in the forms that toolkits export.

Run with torch, onnx and NumPy, and with the speech synthesiser flite, whose voices are free to use:
``python tests/data/make_transducer.py [SECONDS]``. Writes the folder ``transducer`` beside itself: an
encoder, a decoder and a joiner; decoder and joiner as the one file that NeMo writes; and ``digits.npz``: what
was said at a speed that its voice was not trained at, as features and as letters, the tokens that a search in
PyTorch finds, and the rows of a CTC layer that was trained along.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(__file__).with_name("transducer")
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TOKENS = ("<blk>", *sorted(set("".join(WORDS))), " ")
BLANK = 0
VOICES = ("awb", "rms", "slt", "kal")
RATE, MELS, STACKED = 8000, 20, 4
UNITS, PREDICTED, EMBEDDED, JOINED = 48, 32, 16, 32


def spoken(text: str, voice: str, stretch: float, folder: str) -> np.ndarray:
    """The sound of a text, 8 kHz, from -1 to 1."""
    path = f"{folder}/{voice}.wav"
    command = ["flite", "-voice", voice, "--setf", f"duration_stretch={stretch:.3f}", "-t", text, "-o", path]
    subprocess.run(command, check=True)
    with wave.open(path) as file:
        sound = np.frombuffer(file.readframes(file.getnframes()), np.int16) / 32768
        rate = file.getframerate()
    if rate == 2 * RATE:
        taps = np.sinc(np.arange(-32, 33) / 2) * np.hamming(65) / 2
        sound = np.convolve(sound, taps, "same")[::2]
    return sound


def mel_bank() -> np.ndarray:
    """Triangles [129, mels] over the spectrum of 256 samples."""
    edges = 700 * (10 ** (np.linspace(100, 2146, MELS + 2) / 2595) - 1)
    bins = np.arange(129) * RATE / 256
    rise = (bins[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - bins[:, None]) / np.diff(edges)[1:]
    return np.maximum(0, np.minimum(rise, fall))


BANK = mel_bank()


def features(sound: np.ndarray) -> np.ndarray:
    """Logarithms of mel bands every 10 ms in bytes [frames, mels], an eighth a step."""
    count = max(0, (len(sound) - 200) // 80 + 1) // STACKED * STACKED
    frames = np.lib.stride_tricks.sliding_window_view(sound, 200)[::80][:count] * np.hanning(200)
    power = np.abs(np.fft.rfft(frames, 256)) ** 2 @ BANK
    return np.clip(np.round(8 * np.log(power + 1e-5)) + 110, 0, 255).astype(np.uint8)


def stacked(bytes_: np.ndarray) -> np.ndarray:
    """What the encoder takes, a frame every 40 ms."""
    return ((bytes_.astype(np.float32) - 90) / 32).reshape(-1, STACKED * MELS)


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(STACKED * MELS, UNITS, 2, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]


class Decoder(nn.Module):
    """y [N, 1] and a state [1, N, units] each to an output [N, 1, units] and the state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(TOKENS), EMBEDDED)
        self.lstm = nn.LSTM(EMBEDDED, PREDICTED, batch_first=True)

    def forward(self, y, h, c):
        out, (h, c) = self.lstm(self.embedding(y), (h, c))
        return out, h, c


class Joiner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(UNITS, JOINED), nn.Linear(PREDICTED, JOINED)
        self.output = nn.Linear(JOINED, len(TOKENS))

    def forward(self, encoder_out, decoder_out):
        return self.output(torch.tanh(self.encoder(encoder_out) + self.decoder(decoder_out)))


class DecoderJoint(nn.Module):
    """Both, with the names and the layout of NeMo's export."""

    def __init__(self, decoder: Decoder, joiner: Joiner) -> None:
        super().__init__()
        self.decoder, self.joiner = decoder, joiner

    def forward(self, encoder_outputs, targets, target_length, input_states_1, input_states_2):
        out, h, c = self.decoder(targets, input_states_1, input_states_2)
        frames = encoder_outputs.transpose(1, 2)
        return self.joiner(frames.unsqueeze(2), out.unsqueeze(1)), target_length, h, c


def transducer_loss(logp, targets, frames, lengths):
    """-ln p(targets) of logp[N, T, U + 1, V], summed over all alignments."""
    blank = logp[..., BLANK]
    emit = logp[:, :, :-1].gather(3, targets[:, None, :, None].expand(-1, logp.shape[1], -1, 1))[..., 0]
    along = torch.cat([torch.zeros_like(emit[:, :, :1]), emit.cumsum(2)], 2)
    alpha = along[:, 0]
    rows = [alpha]
    for t in range(1, logp.shape[1]):
        alpha = along[:, t] + torch.logcumsumexp(alpha + blank[:, t - 1] - along[:, t], 1)
        rows.append(alpha)
    number = torch.arange(len(logp))
    last = torch.stack(rows, 1)[number, frames - 1, lengths]
    return -(last + blank[number, frames - 1, lengths])


def tokens_of(text: str) -> list[int]:
    return [TOKENS.index(letter) for letter in text]


def sentences(rng: np.random.Generator, count: int, held_out: bool) -> list[tuple[np.ndarray, str]]:
    """Features and texts; the voice slt says nothing fast where it is not held out."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(count):
            text = " ".join(rng.choice(WORDS, rng.integers(1, 5 if held_out else 4)))
            voice = "slt" if held_out else VOICES[rng.integers(len(VOICES))]
            low, high = (0.75, 0.85) if held_out else (0.9, 1.4) if voice == "slt" else (0.75, 1.4)
            found.append((features(spoken(text, voice, rng.uniform(low, high), folder)), text))
    return found


def batch(rng: np.random.Generator, data: list[tuple[np.ndarray, str]], size: int):
    chosen = []
    for index in rng.choice(len(data), size):
        x, text = data[index]
        x = x.astype(np.float32) + 8 * rng.uniform(-1.5, 0.5) + rng.normal(0, rng.uniform(0, 6), x.shape)
        x = np.maximum(x, rng.uniform(0, 40))
        cut = rng.integers(0, 4)
        chosen.append((stacked(x[cut : cut + (len(x) - cut) // STACKED * STACKED]), tokens_of(text)))
    frames = torch.tensor([len(x) for x, _ in chosen])
    lengths = torch.tensor([len(y) for _, y in chosen])
    x, y = (
        torch.zeros(size, int(frames.max()), STACKED * MELS),
        torch.zeros(size, int(lengths.max()), dtype=int),
    )
    for row, (own, text) in enumerate(chosen):
        x[row, : len(own)] = torch.from_numpy(own)
        y[row, : len(text)] = torch.tensor(text)
    return x, y, frames, lengths


class Models:
    def __init__(self) -> None:
        self.encoder, self.decoder, self.joiner = Encoder(), Decoder(), Joiner()
        self.ctc = nn.Linear(UNITS, len(TOKENS))

    def losses(self, x, y, frames, lengths):
        out = self.encoder(x)
        before = torch.cat([torch.full_like(y[:, :1], BLANK), y], 1)
        zeros = torch.zeros(1, len(y), PREDICTED)
        predicted = self.decoder(before, zeros, zeros)[0]
        logp = self.joiner(out[:, :, None], predicted[:, None]).log_softmax(-1)
        ctc = self.ctc(out).log_softmax(-1).transpose(0, 1)
        by_ctc = nn.functional.ctc_loss(ctc, y, frames, lengths, BLANK, reduction="none", zero_infinity=True)
        return transducer_loss(logp, y, frames, lengths).mean(), by_ctc.mean()

    @torch.no_grad()
    def greedy(self, x: np.ndarray, most: int = 10) -> list[int]:
        """The likeliest symbol each time."""
        out = self.encoder(torch.from_numpy(x)[None])[0]
        state = torch.zeros(1, 1, PREDICTED), torch.zeros(1, 1, PREDICTED)
        predicted, *state = self.decoder(torch.tensor([[BLANK]]), *state)
        found: list[int] = []
        for frame in out:
            for _ in range(most):
                token = int(self.joiner(frame[None], predicted[0]).argmax())
                if token == BLANK:
                    break
                found.append(token)
                predicted, *state = self.decoder(torch.tensor([[token]]), *state)
        return found


def train(models: Models, data: list[tuple[np.ndarray, str]], seconds: float, rng) -> None:
    parts = nn.ModuleList([models.encoder, models.decoder, models.joiner, models.ctc])
    optimiser = torch.optim.AdamW(parts.parameters(), 1e-3, weight_decay=0.01)
    begin, step = time.perf_counter(), 0
    while (share := (time.perf_counter() - begin) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 4e-3 * min(1, step / 100) * (1 + np.cos(np.pi * share)) / 2
        by_transducer, by_ctc = models.losses(*batch(rng, data, 8 if share < 0.3 else 16))
        optimiser.zero_grad()
        (by_transducer + 0.3 * by_ctc).backward()
        nn.utils.clip_grad_norm_(parts.parameters(), 2.0)
        optimiser.step()
        step += 1
        if step % 50 == 0:
            print(f"{share:.2f} {step} {by_transducer.item():.3f} {by_ctc.item():.3f}", flush=True)


def export(module: nn.Module, name: str, given: tuple, inputs: list[str], outputs: list[str], axes) -> None:
    torch.onnx.export(
        module.eval(), given, FOLDER / f"{name}.onnx", input_names=inputs, output_names=outputs,
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip


def write(models: Models) -> None:
    FOLDER.joinpath("nemo").mkdir(parents=True, exist_ok=True)
    state = torch.zeros(1, 2, PREDICTED), torch.zeros(1, 2, PREDICTED)
    y, rows = torch.zeros(2, 1, dtype=torch.int64), {0: "N"}
    export(
        models.encoder, "encoder", (torch.zeros(2, 5, STACKED * MELS),), ["x"], ["encoder_out"],
        {"x": {0: "N", 1: "T"}, "encoder_out": {0: "N", 1: "T"}},
    )  # fmt: skip
    export(
        models.decoder, "decoder", (y, *state), ["y", "h", "c"], ["decoder_out", "h_next", "c_next"],
        {"y": rows, "decoder_out": rows, **{name: {1: "N"} for name in ("h", "c", "h_next", "c_next")}},
    )  # fmt: skip
    export(
        models.joiner, "joiner", (torch.zeros(2, UNITS), torch.zeros(2, PREDICTED)),
        ["encoder_out", "decoder_out"], ["logit"], {"encoder_out": rows, "decoder_out": rows, "logit": rows},
    )  # fmt: skip
    states = ["input_states_1", "input_states_2", "output_states_1", "output_states_2"]
    export(
        DecoderJoint(models.decoder, models.joiner), "nemo/decoder_joint-model",
        (torch.zeros(2, UNITS, 3), y.int(), torch.ones(2, dtype=torch.int32), *state),
        ["encoder_outputs", "targets", "target_length", *states[:2]],
        ["outputs", "prednet_lengths", *states[2:]],
        {"encoder_outputs": [0, 2], "targets": [0, 1], "target_length": [0], "outputs": [0, 1, 2],
         "prednet_lengths": [0], **{name: [1] for name in states}},
    )  # fmt: skip


def main(seconds: float) -> None:
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    data = sentences(rng, 900, False)
    held_out = sentences(rng, 24, True)
    models = Models()
    train(models, data, seconds, rng)
    write(models)
    found = [models.greedy(stacked(x)) for x, _ in held_out]
    with torch.no_grad():
        rows = [models.ctc(models.encoder(torch.from_numpy(stacked(x)))).log_softmax(-1) for x, _ in held_out]
    wrong = 0
    for (_, text), tokens in zip(held_out, found):
        heard = "".join(TOKENS[token] for token in tokens)
        wrong += heard != text
        print(f"{text!r:40} {heard!r}")
    print(f"{wrong} of {len(held_out)} wrong")
    np.savez_compressed(
        FOLDER / "digits.npz",
        features=np.concatenate([x for x, _ in held_out]),
        frames=[len(x) for x, _ in held_out],
        texts=[text for _, text in held_out],
        tokens=np.concatenate([np.array(tokens, np.uint8) for tokens in found]),
        lengths=[len(tokens) for tokens in found],
        ctc=np.concatenate([row.numpy().astype(np.float16) for row in rows]),
    )
    FOLDER.joinpath("tokens.txt").write_text(
        "".join(f"{token.replace(' ', '▁')} {n}\n" for n, token in enumerate(TOKENS))
    )


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 700)

"""Encoder-decoder models of packages on PyPI, and the searches of those packages, to compare with.

Nothing of the packages is run: each search here does step by step what its package's does.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
from tinyseq.converters.weights import Weights, npz

import tinyseq
from bench.rivals import one_thread
from tests.models import onnx_of

GRAPHEMES = "abcdefghijklmnopqrstuvwxyz"
_PHONEMES = """
<pad> <unk> <s> </s> AA0 AA1 AA2 AE0 AE1 AE2 AH0 AH1 AH2 AO0 AO1 AO2 AW0 AW1 AW2 AY0 AY1 AY2 B CH D DH EH0
EH1 EH2 ER0 ER1 ER2 EY0 EY1 EY2 F G HH IH0 IH1 IH2 IY0 IY1 IY2 JH K L M N NG OW0 OW1 OW2 OY0 OY1 OY2 P R S SH
T TH UH0 UH1 UH2 UW UW0 UW1 UW2 V W Y Z ZH
"""
PHONEMES = _PHONEMES.split()
GATES = ("w_ih", "w_hh", "b_ih", "b_hh")


# g2p-en: spelling to phonemes.


def spelled(word: str) -> dict[str, np.ndarray]:
    """The encoder's input for a word of the letters a to z."""
    return {"letters": np.array([[3 + GRAPHEMES.index(letter) for letter in word] + [2]])}


def graphemes(path: Path, device: str = "cpu") -> tinyseq.Decoder:
    """g2p-en's GRU encoder and decoder, from its weights."""
    with Weights(npz.read(path)) as weights:
        encoder = tinyseq.Graph()
        letters = encoder.input("letters", ["rows", "frames"], np.int64)
        x = encoder.transpose(encoder.embedding(letters, weights.take("enc_emb")), [1, 0, 2])
        _, h = encoder.gru(x, [weights.take(f"enc_{name}") for name in GATES], layout="torch")
        encoder.output("h_out", h)
        decoder = tinyseq.Graph()
        token = decoder.input("token", ["rows"], np.int64)
        h = decoder.input("h", [1, "rows", 256])
        x = decoder.unsqueeze(decoder.embedding(token, weights.take("dec_emb")), [0])
        y, h = decoder.gru(x, [weights.take(f"dec_{name}") for name in GATES], layout="torch", h=h)
        decoder.output("h_next", h, carries="h")
        y = decoder.squeeze(y, [0])
        decoder.output("logits", decoder.dense(y, weights.take("fc_w").T, weights.take("fc_b")))
    return tinyseq.Decoder(tinyseq.load(decoder, device=device), tinyseq.load(encoder, device=device))


def pronunciations(path: Path) -> dict[str, list[list[str]]]:
    """The words of the CMU dictionary that have no letters but a to z, and how each may be said."""
    found: dict[str, list[list[str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, *phonemes = line.split("#")[0].split()
        word = word.split("(")[0]
        if word.isascii() and word.isalpha():
            found.setdefault(word, []).append(phonemes)
    return found


class PackageGraphemes:
    """g2p-en's ``predict``: greedy, at most 20 steps, in NumPy."""

    def __init__(self, path: Path) -> None:
        self._weights = dict(np.load(path))

    def _cell(self, x: np.ndarray, h: np.ndarray, part: str) -> np.ndarray:
        w_ih, w_hh, b_ih, b_hh = (self._weights[f"{part}_{name}"] for name in GATES)
        given, held = np.matmul(x, w_ih.T) + b_ih, np.matmul(h, w_hh.T) + b_hh
        most = given.shape[-1] * 2 // 3
        r, z = np.split(1 / (1 + np.exp(-(given[:, :most] + held[:, :most]))), 2, -1)
        n = np.tanh(given[:, most:] + r * held[:, most:])
        return (1 - z) * n + z * h

    def predict(self, letters: np.ndarray) -> list[int]:
        """The phonemes of letters [1, frames]."""
        h = np.zeros((1, 256), np.float32)
        for letter in letters[0]:
            h = self._cell(self._weights["enc_emb"][letter][None], h, "enc")
        token, found = 2, []
        for _ in range(20):
            h = self._cell(self._weights["dec_emb"][token][None], h, "dec")
            token = int((np.matmul(h, self._weights["fc_w"].T) + self._weights["fc_b"]).argmax())
            if token == 3:
                break
            found.append(token)
        return found


# netra-transliterate: Latin letters to Khmer.

LATIN = "aohenrktusmbicplgyvdjzfwxq"
"""The letters in the order of their numbers, which begin at 2."""

KHMER = "្ារកសបតនមងិលអចុវទយ់ពំហោជេគីណញូភែធដខើ៉ះឹួឡថផៀ័ៈឆ៍ៃ៊ឋឺៗឌឧៅឃឈ៌ឿឥឱឫឯឍ៎៏ឪឩឲឦឮឰឳ។ឭឬ"
"""Likewise."""

KHMER_START, KHMER_END, MOST_LETTERS = 79, 80, 25


def khmer(path: Path, device: str = "cpu") -> tinyseq.Decoder:
    """netra's encoder and decoder, parted as the package parts them."""
    with zipfile.ZipFile(path) as archive:
        layers = h5py.File(io.BytesIO(archive.read("model.weights.h5")))["layers"]

    def variables(name: str) -> list[np.ndarray]:
        group = layers[name]["vars"]
        return [np.array(group[str(index)]) for index in range(len(group))]

    encoder = tinyseq.Graph()
    letters = encoder.input("letters", ["rows", "source"], np.int64)
    x = encoder.transpose(encoder.embedding(letters, variables("embedding")[0]), [1, 0, 2])
    directions = [variables(f"bidirectional/{name}_layer/cell") for name in ("forward", "backward")]
    y, _ = encoder.gru(x, directions[0], layout="keras", backward=directions[1])
    encoder.output(
        "memory_out", encoder.dense(encoder.transpose(y, [1, 0, 2]), *variables("time_distributed/layer"))
    )
    decoder = tinyseq.Graph()
    token = decoder.input("token", ["rows"], np.int64)
    h = decoder.input("h", [1, "rows", 64])
    memory = decoder.input("memory", ["rows", "source", 64])
    x = decoder.unsqueeze(decoder.embedding(token, variables("embedding_1")[0]), [0])
    y, h = decoder.gru(x, variables("gru/cell"), layout="keras", h=h)
    decoder.output("h_next", h, carries="h")
    query = decoder.transpose(y, [1, 0, 2])
    energies = decoder.tanh(decoder.add(query, memory))
    energies = decoder.mul(energies, variables("additive_attention")[0])
    shares = decoder.softmax(decoder.apply("ReduceSum", energies, np.array([-1]), keepdims=0))
    decoder.output("attention", shares)
    context = decoder.apply("MatMul", decoder.unsqueeze(shares, [1]), memory)
    both = decoder.squeeze(decoder.concat([query, context], axis=-1), [1])
    decoder.output("shares", decoder.softmax(decoder.dense(both, *variables("dense"))))
    return tinyseq.Decoder(
        tinyseq.load(decoder, device=device), tinyseq.load(encoder, device=device),
        scores="shares", attention="attention",
    )  # fmt: skip


def latin(word: str) -> dict[str, np.ndarray]:
    """The encoder's input for a word of the letters a to z, padded at its end as the package has it."""
    found = [2 + LATIN.index(letter) for letter in word]
    return {"letters": np.array([found + [0] * (MOST_LETTERS - len(found))])}


class PackageKhmer:
    """netra's ``_beam_search``, on two onnxruntime sessions in the place of Keras."""

    def __init__(self, decoder: tinyseq.Decoder) -> None:
        self._encoder, self._decoder = (
            one_thread(onnx_of(session.model.graph)) for session in (decoder.encoder, decoder.session)
        )

    def search(self, word: str, width: int, most: int = 32) -> list[tuple[list[int], float, bool]]:
        """Tokens, probability and whether it has ended of all hypotheses, likeliest first."""
        (memory,) = self._encoder.run(["memory_out"], latin(word))
        beams = [([KHMER_START], 1.0, np.zeros((1, 1, 64), np.float32))]
        finished = []
        for _ in range(most):
            following = []
            for tokens, probability, h in beams:
                feeds = {"token": np.array(tokens[-1:]), "h": h, "memory": memory}
                (shares,), h_next = self._decoder.run(["shares", "h_next"], feeds)
                for token in np.argsort(shares)[-width:].tolist():
                    if shares[token] <= 1e-8:
                        continue
                    one = [*tokens, token], probability * shares[token], h_next
                    (finished if token == KHMER_END or len(one[0]) >= most else following).append(one)
            beams = sorted(following, key=lambda beam: -beam[1])[:width]
            if not beams or len(finished) >= width:
                break
        found = sorted(finished + beams, key=lambda beam: -beam[1])
        return [
            ([token for token in tokens[1:] if token != KHMER_END], probability, tokens[-1] == KHMER_END)
            for tokens, probability, _ in found
        ]


# arabic-name-romanizer.


class PackageRomanizer:
    """arabic-name-romanizer's ``beam_search`` on two onnxruntime sessions, for one name."""

    def __init__(self, encoder: Path, decoder: Path) -> None:
        self._encoder, self._decoder = (one_thread(path) for path in (encoder, decoder))

    def search(
        self, letters: Sequence[Sequence[int]], width: int, most: int = 32
    ) -> list[list[tuple[list[int], float]]]:
        """Tokens and mean score of each hypothesis, best first, of each name."""
        length = max(map(len, letters))
        src = np.array([[*name, *[0] * (length - len(name))] for name in letters])
        count = len(src)
        memory, mask, hidden = self._encoder.run(None, {"src": src, "src_mask": src == 0})
        expand = np.repeat(np.arange(count), width)
        memory, mask, hidden = memory[expand], mask[expand], hidden[expand]
        prefix = np.full((count * width, 1), 1)
        scores = np.zeros((count, width))
        scores[:, 1:] = -np.inf
        finished, lengths = np.zeros((count, width), bool), np.zeros((count, width), int)
        for step in range(most):
            feeds = {
                "prefix": prefix,
                "memory": memory,
                "src_mask": mask,
                "hidden": np.ascontiguousarray(hidden),
            }
            logp, hidden = self._decoder.run(None, feeds)
            size = logp.shape[1]
            logp = logp.astype(np.float64).reshape(count, width, size)
            if step == 0:
                logp[:, :, 2] = -np.inf
            logp = np.where(finished[:, :, None], -np.inf, logp)
            logp[:, :, 0] = np.where(finished, 0.0, -np.inf)
            flat = (scores[:, :, None] + logp).reshape(count, width * size)
            top = np.argpartition(-flat, width - 1, axis=1)[:, :width]
            order = np.argsort(-np.take_along_axis(flat, top, axis=1), axis=1, kind="stable")
            top = np.take_along_axis(top, order, axis=1)
            beams, tokens = top // size, top % size
            base = (np.arange(count)[:, None] * width + beams).reshape(-1)
            prefix = np.concatenate([prefix[base], tokens.reshape(-1, 1)], axis=1)
            hidden = hidden[base]
            before = np.take_along_axis(finished, beams, axis=1)
            lengths = np.take_along_axis(lengths, beams, axis=1) + ~before
            finished, scores = before | (tokens == 2), np.take_along_axis(flat, top, axis=1)
            if finished.all():
                break
        results = []
        for name in range(count):
            rows = range(name * width, (name + 1) * width)
            found = [
                (
                    [token for token in prefix[row, 1:].tolist() if token not in (0, 2)],
                    float(score) / max(int(length), 1),
                )
                for row, score, length in zip(rows, scores[name], lengths[name])
                if np.isfinite(score)
            ]
            results.append(sorted(found, key=lambda pair: -pair[1]))
        return results

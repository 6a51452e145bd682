"""Every public call, and arguments that fit it. The file ``nowhere`` is missing."""

from __future__ import annotations

import numpy as np
from onnx import helper, load_from_string
from tinyseq.converters import keras, torch, weights
from tinyseq.converters import onnx as onnx_files
from tinyseq.converters.weights import npz, safetensors

import tinyseq
from tests import models
from tests.arguments.things import (
    GRU,
    LOGP,
    LSTM,
    SEARCH,
    SPELT,
    STATE,
    TOKEN,
    TORCH,
    TRANSDUCED,
    VOCABULARY,
    Front,
    applied,
    built,
    detector,
    finished_graph,
    folder,
    from_weights,
    front_end,
    graph,
    heard,
    hearing,
    like_onnxruntime,
    named,
    ones,
    pickled,
    pool,
    recognizer,
    rows_of_speech,
    searched,
    session,
    transducing,
    with_options,
    writer,
    written,
)
from tests.arguments.wrong import Call, X
from tinyseq import onnx_backend, speech

CALLS: dict[str, Call] = {
    "load": Call(
        lambda: tinyseq.load,
        {"path": models.lstm_with_state(), "device": "cpu", "state": {"h": "hn", "c": "cn"}},
    ),
    "load from a file": Call(lambda: tinyseq.load, {"path": str(folder() / "model.onnx")}),
    **{
        f"load from {suffix}": Call(
            lambda suffix=suffix: lambda name: tinyseq.load(named(name, suffix)), {"name": "nowhere"}
        )
        for suffix in (".onnx", ".tinyseq", ".keras", ".h5", ".pt")
    },
    "Session.run": Call(lambda: session().run, {"feeds": {"x": X, **STATE}}),
    "Session.run on the reference": Call(lambda: session("reference").run, {"feeds": {"x": X, **STATE}}),
    "Session.pool": Call(lambda: session().pool, {"count": 2}),
    "check_stream": Call(
        lambda: tinyseq.check_stream,
        {"model": session(), "feeds": {"x": X}, "frames": 3, "trials": 1, "seed": 0},
    ),
    "Session.save": Call(lambda: session().save, {"path": str(folder() / "own.tinyseq")}),
    "Stream.step": Call(
        lambda: session().stream().step, {"feeds": {"x": X}, "out": {"y": np.zeros((4, 1, 1, 4), "f4")}}
    ),
    "Stream.step on the reference": Call(
        lambda: session("reference").stream().step, {"feeds": {"x": X}, "out": {"y": np.zeros((4, 1, 1, 4))}}
    ),
    "Stream.restore": Call(lambda: session().stream().restore, {"saved": STATE}),
    "Pool.step": Call(
        lambda: pool().step, {"rows": [0], "feeds": {"x": X}, "out": {"y": np.zeros((4, 1, 1, 4), "f4")}}
    ),
    "Pool.close": Call(lambda: pool().close, {"row": 0}),
    "Pool.reset": Call(lambda: pool().reset, {"row": 0}),
    "Pool.snapshot": Call(lambda: pool().snapshot, {"row": 0}),
    "Pool.restore": Call(lambda: pool().restore, {"row": 0, "saved": STATE}),
    "State": Call(lambda: pickled, {"state": STATE}),
    "State.from_bytes": Call(lambda: tinyseq.State.from_bytes, {"data": tinyseq.State(STATE).to_bytes()}),
    "InferenceSession": Call(
        lambda: tinyseq.InferenceSession,
        {
            "path_or_bytes": models.lstm_with_state(), "sess_options": None,
            "providers": ["CPUExecutionProvider"], "provider_options": [{}],
        },
    ),
    "InferenceSession.run": Call(
        lambda: like_onnxruntime().run,
        {"output_names": ["y"], "input_feed": {"x": X, **STATE}, "run_options": None},
    ),
    "InferenceSession.set_providers": Call(
        lambda: like_onnxruntime().set_providers,
        {"providers": [("CPUExecutionProvider", {})], "provider_options": [{}]},
    ),
    "onnx_backend.prepare": Call(
        lambda: onnx_backend.prepare, {"model": load_from_string(models.lstm_with_state()), "device": "CPU"}
    ),
    "onnx_backend.is_compatible": Call(
        lambda: onnx_backend.is_compatible,
        {"model": load_from_string(models.lstm_with_state()), "device": "CPU"},
    ),
    "onnx_backend.run_model": Call(
        lambda: onnx_backend.run_model,
        {"model": load_from_string(models.running_sum()), "inputs": [X[0], X[0]], "device": "CPU"},
    ),
    "onnx_backend.run_node": Call(
        lambda: onnx_backend.run_node,
        {
            "node": helper.make_node("Neg", ["x"], ["y"]), "inputs": [X], "device": "CPU",
            "outputs_info": [(np.dtype(np.float32), (4, 1, 3))], "opset_version": 18,
        },
    ),
    "onnx_backend.supports_device": Call(lambda: onnx_backend.supports_device, {"device": "CPU"}),
    # Search.
    "Greedy": Call(
        lambda: lambda **options: written(tinyseq.Greedy(**options)),
        TOKEN
        | {
            "eos_token_id": [1], "prefix": [1], "repetition_penalty": 1.0, "no_repeat_ngram_size": 0,
            "min_new_tokens": 0, "forced_bos_token_id": None, "forced_eos_token_id": None,
            "suppress_tokens": [1], "begin_suppress_tokens": [1], "output_attentions": False,
        },
    ),
    "Sampling": Call(
        lambda: lambda **options: written(tinyseq.Sampling(**options)),
        TOKEN
        | {
            "num_return_sequences": 1, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0,
            "typical_p": 1.0, "seed": [0],
        },
    ),
    "Beam": Call(
        lambda: lambda **options: written(tinyseq.Beam(**options)),
        TOKEN
        | {
            "num_beams": 2, "num_return_sequences": 1, "length_penalty": 1.0, "early_stopping": False,
            "patience": 1.0, "compete": False, "coverage_penalty": 0.0, "num_beam_groups": 1,
            "diversity_penalty": 0.0,
        },
    ),
    "generate": Call(
        lambda: tinyseq.generate,
        {
            "decoder": writer(), "feeds": [{"h": ones(1, 3)}], "options": tinyseq.Greedy(**TOKEN),
            "logits_processor": [lambda tokens, scores: None], "streamer": lambda *given: None,
        },
    ),
    "generate by a processor": Call(
        lambda: lambda scores: tinyseq.generate(
            writer(),
            {"h": ones(1, 3)},
            tinyseq.Greedy(**TOKEN),
            logits_processor=[lambda tokens, before: scores],
        ),
        {"scores": ones(1, 3)},
    ),
    "generate behind a prefix": Call(
        lambda: lambda prefix: tinyseq.generate(
            writer(), {"h": ones(1, 3)}, tinyseq.Greedy(**TOKEN, prefix=prefix)
        ),
        {"prefix": [1]},
    ),
    "generate from seeds": Call(
        lambda: lambda seed: tinyseq.generate(
            writer(), {"h": ones(1, 3)}, tinyseq.Sampling(**TOKEN, seed=seed)
        ),
        {"seed": [1]},
    ),
    "Decoder": Call(
        lambda: tinyseq.Decoder,
        {
            "decoder": writer().session, "encoder": None, "tokens": "token", "scores": "scores",
            "kind": "logits", "attention": None, "rows": "rows", "connect": {},
        },
    ),
    "CtcDecoder": Call(lambda: with_options, {"options": tinyseq.CtcGreedy(), "rows": LOGP}),
    "CtcDecoder.decode": Call(lambda: tinyseq.CtcDecoder().decode, {"rows": LOGP[None], "lengths": [3]}),
    "CtcDecoder.step": Call(
        lambda: searched()._decoder.step, {"streams": [searched()], "chunks": [LOGP]}
    ),
    "DecoderStream.step": Call(lambda: tinyseq.CtcDecoder().stream().step, {"rows": LOGP}),
    "DecoderStream.restore": Call(
        lambda: tinyseq.CtcDecoder().stream().restore, {"saved": dict(searched().snapshot())}
    ),
    "ctc_greedy": Call(
        lambda: tinyseq.ctc_greedy, {"logp": LOGP, "blank": 0, "lengths": None, "vocabulary": VOCABULARY}
    ),
    "ctc_beam_search": Call(
        lambda: tinyseq.ctc_beam_search,
        SEARCH
        | {
            "logp": LOGP, "beam_width": 2, "blank": 0, "lengths": None, "beam_prune_logp": -10.0,
            "token_min_logp": -5.0, "tokens_per_frame": 2,
        },
    ),
    "ctc_beam_search of words": Call(lambda: tinyseq.ctc_beam_search, SPELT | {"logp": LOGP}),
    "word_times": Call(
        lambda: tinyseq.word_times,
        {
            "hypothesis": tinyseq.ctc_greedy(LOGP)[0], "vocabulary": VOCABULARY, "frame_seconds": 0.04,
            "word_separator": " ",
        },
    ),
    "Transducer": Call(
        lambda: tinyseq.Transducer,
        {
            "predictor": transducing().predictor, "joiner": transducing().joiner,
            "encoder": transducing().encoder, "start": [0, 0], "tokens": "y", "output": "decoder_out",
            "feeds": {}, "frame": "encoder_out", "scores": None, "kind": "logits",
        },
    ),
    "Transducer.load": Call(lambda: tinyseq.Transducer.load, {"folder": "nowhere", "device": "cpu"}),
    "Transducer.save": Call(lambda: transducing().save, {"folder": str(folder() / "transducer")}),
    "Transducer.encode": Call(
        lambda: transducing().encode, {"feeds": {"x": ones(1, 5, 3)}, "output": "encoder_out"}
    ),
    "TransducerDecoder": Call(
        lambda: tinyseq.TransducerDecoder,
        {"transducer": transducing(), "options": tinyseq.TransducerGreedy()},
    ),
    "transducer_greedy": Call(
        lambda: tinyseq.transducer_greedy,
        {
            "transducer": transducing(), "frames": ones(5, 6), "blank": 0, "max_symbols": 2, "lengths": None,
            "blank_penalty": 0.0, "temperature": 1.0, "vocabulary": TRANSDUCED["vocabulary"],
        },
    ),
    "transducer_beam_search": Call(
        lambda: tinyseq.transducer_beam_search,
        TRANSDUCED
        | {
            "transducer": transducing(), "frames": ones(3, 6), "beam_width": 2, "blank": 0, "lengths": None,
            "beam_prune_logp": -10.0, "blank_penalty": 0.0, "temperature": 1.0, "length_norm": True,
        },
    ),
    "read_arpa": Call(lambda: tinyseq.read_arpa, {"path": str(folder() / "lm.arpa")}),
    "read_kenlm": Call(lambda: tinyseq.read_kenlm, {"path": str(folder() / "lm.arpa"), "words": ["a"]}),
    "read_vocabulary": Call(lambda: tinyseq.read_vocabulary, {"path": str(folder() / "tokens.txt")}),
    "read_lexicon": Call(lambda: tinyseq.read_lexicon, {"path": str(folder() / "tokens.txt")}),
    # Speech.
    "Endpointing": Call(
        lambda: tinyseq.Endpointing,
        {
            "rule1_min_trailing_silence": 1.0, "rule2_min_trailing_silence": 1.0,
            "rule3_min_utterance_length": 1.0,
        },
    ),
    "Endpointing.is_endpoint": Call(lambda: tinyseq.Endpointing().is_endpoint, {"length": 1.0, "last": 1.0}),
    "Chunks": Call(lambda: tinyseq.Chunks, {"size": 4, "feeds": lambda samples: {"x": samples}}),
    "Chunks.push": Call(lambda: front_end().push, {"samples": np.ones(9, np.float32)}),
    "Recognizer": Call(
        lambda: tinyseq.Recognizer,
        {
            "model": rows_of_speech(), "front_end": front_end, "decoder": tinyseq.CtcDecoder(),
            "frame_seconds": 0.1, "output": "y", "sample_rate": 16_000, "endpointing": None,
        },
    ),
    "RecognizerStream.accept_waveform": Call(
        lambda: recognizer().create_stream().accept_waveform,
        {"sample_rate": 16_000, "waveform": np.ones(9, np.float32)},
    ),
    "RecognizerStream.restore": Call(
        lambda: recognizer().create_stream().restore, {"saved": dict(hearing().snapshot())}
    ),
    "Chunks.restore": Call(lambda: front_end().restore, {"saved": dict(front_end().snapshot())}),
    "Recognizer.limited_to": Call(lambda: hearing()._recognizer.limited_to, {"words": ["a"]}),
    "CtcDecoder.limited_to": Call(
        lambda: tinyseq.CtcDecoder(tinyseq.CtcBeamSearch(vocabulary=["", "a", "b"])).limited_to,
        {"words": ["a"]},
    ),
    "Recognizer.decode": Call(lambda: hearing()._recognizer.decode, {"streams": [hearing()]}),
    "Recognizer.is_ready": Call(lambda: hearing()._recognizer.is_ready, {"stream": hearing()}),
    "Recognizer.get_result": Call(lambda: hearing()._recognizer.get_result, {"stream": hearing()}),
    "Recognizer.is_endpoint": Call(lambda: hearing()._recognizer.is_endpoint, {"stream": hearing()}),
    "Recognizer.reset": Call(lambda: hearing()._recognizer.reset, {"stream": hearing()}),
    "VoiceDetector": Call(
        lambda: speech.VoiceDetector,
        {
            "model": detector().model, "threshold": 0.5, "negative_threshold": 0.3,
            "min_speech_duration": 0.2, "min_silence_duration": 0.1, "speech_pad": 0.0,
        },
    ),
    "VoiceDetector.segments": Call(
        lambda: detector().segments, {"sample_rate": 16_000, "samples": np.ones(9, np.float32)}
    ),
    "VoiceDetector.accept_waveforms": Call(
        lambda: detector().accept_waveforms,
        {"streams": [detector().stream()], "sample_rate": 16_000, "waveforms": [np.ones(9, np.float32)]},
    ),
    "VoiceStream.accept_waveform": Call(
        lambda: detector().stream().accept_waveform,
        {"sample_rate": 16_000, "waveform": np.ones(9, np.float32)},
    ),
    "VoiceStream.restore": Call(
        lambda: detector().stream().restore, {"saved": dict(detector().stream().snapshot())}
    ),
    "a front end": Call(lambda: lambda made: heard(lambda: made), {"made": front_end()}),
    "a front end's steps": Call(
        lambda: lambda steps: heard(lambda: Front(steps)), {"steps": [{"x": ones(1, 1, 4)}]}
    ),
    "chunks' feeds": Call(
        lambda: lambda feeds: heard(lambda: tinyseq.Chunks(4, lambda samples: feeds)),
        {"feeds": {"x": ones(1, 1, 4)}},
    ),
    # Graphs and weights.
    "Graph.input": Call(
        lambda: graph().input, {"name": "y", "shape": ["rows", 3], "dtype": np.dtype(np.float32)}
    ),
    "Graph.output": Call(
        lambda: graph().output, {"name": "y", "tensor": "x", "carries": "x", "dtype": np.dtype(np.float32)}
    ),
    "Graph.model": Call(lambda: finished_graph().model, {"origin": "test"}),
    "Graph.constant": Call(lambda: graph().constant, {"value": [1.0], "name": "c"}),
    "Graph.apply": Call(
        lambda: applied, {"op": "LeakyRelu", "inputs": ["x"], "outputs": 1, "name": "it", "alpha": 0.1}
    ),
    "Graph.apply of whole numbers": Call(lambda: applied, {"op": "Concat", "inputs": ["x", "x"], "axis": 0}),
    "Graph.apply of lists": Call(lambda: applied, {"op": "Transpose", "inputs": ["x"], "perm": (0, 1, 2)}),
    "Graph.apply of types": Call(
        lambda: applied, {"op": "Cast", "inputs": ["x"], "to": np.dtype(np.float32)}
    ),
    "Graph.lstm": Call(
        built("lstm"),
        {
            "x": "x", "weights": LSTM, "layout": "torch", "backward": LSTM, "h": ones(2, 1, 4),
            "c": ones(2, 1, 4), "lengths": "n", "name": "it", "direction": "bidirectional",
        },
    ),
    "Graph.gru": Call(
        built("gru"),
        {"x": "x", "weights": GRU, "layout": "torch", "reset_after": True, "backward": None, "h": None},
    ),
    "Graph.rnn": Call(
        built("rnn"),
        {"x": "x", "weights": [array[:4] for array in LSTM], "layout": "torch", "activations": ("Tanh",)},
    ),
    "Graph.dense": Call(built("dense"), {"x": "x", "w": ones(3, 2), "b": ones(2), "name": "it"}),
    "Graph.conv1d": Call(
        built("conv1d"),
        {
            "x": "x", "w": ones(2, 1, 3), "b": ones(2), "stride": 1, "padding": [1, 1], "dilation": 1,
            "groups": 1, "name": "it",
        },
    ),
    "Graph.embedding": Call(built("embedding"), {"indices": "n", "table": ones(3, 2), "name": "it"}),
    "Graph.layer_norm": Call(
        built("layer_norm"), {"x": "x", "scale": ones(3), "b": ones(3), "axis": -1, "epsilon": 1e-5}
    ),
    "Graph.batch_norm": Call(
        built("batch_norm"),
        {"x": "x", "scale": ones(1), "b": ones(1), "mean": ones(1), "variance": ones(1), "epsilon": 1e-5},
    ),
    "Graph.softmax": Call(built("softmax"), {"x": "x", "axis": -1}),
    "Graph.add": Call(built("add"), {"a": "x", "b": 1.0}),
    "Graph.concat": Call(built("concat"), {"tensors": ["x", "x"], "axis": 0}),
    "Graph.transpose": Call(built("transpose"), {"x": "x", "order": [2, 1, 0]}),
    "Graph.reshape": Call(built("reshape"), {"x": "x", "shape": [-1]}),
    "Graph.squeeze": Call(built("squeeze"), {"x": "x", "axes": [1]}),
    "Graph.unsqueeze": Call(built("unsqueeze"), {"x": "x", "axes": [1]}),
    "Graph.slice": Call(built("slice"), {"x": "x", "axis": 0, "start": 0, "end": 1}),
    "weights.read": Call(lambda: weights.read, {"path": str(folder() / "weights.npz")}),
    **{
        f"weights.read of {suffix}": Call(
            lambda suffix=suffix: lambda name: weights.read(named(name, suffix)), {"name": "nowhere"}
        )
        for suffix in (".npz", ".safetensors", ".pt", ".h5")
    },
    "npz.read": Call(lambda: npz.read, {"path": str(folder() / "weights.npz")}),
    "safetensors.read": Call(lambda: safetensors.read, {"path": str(folder() / "model.tinyseq")}),
    "torch.read": Call(lambda: torch.read, {"path": "nowhere"}),
    "onnx.load": Call(lambda: onnx_files.load, {"source": str(folder() / "model.onnx")}),
    "keras.load": Call(lambda: keras.load, {"path": "nowhere"}),
    "keras.read": Call(lambda: keras.read, {"path": "nowhere"}),
    "Weights": Call(lambda: weights.Weights, {"arrays": {"a": X}, "origin": "test"}),
    "Weights.take": Call(lambda: weights.Weights({"a": X}).take, {"name": "a"}),
    "Weights.under": Call(lambda: weights.Weights({"a.b": X}).under, {"prefix": "a"}),
    "torch.lstm": Call(
        from_weights(torch.lstm), {"arrays": TORCH, "x": "x", "prefix": "", "batch_first": True}
    ),
    "torch.linear": Call(
        from_weights(torch.linear), {"arrays": {"weight": ones(2, 3)}, "x": "x", "prefix": ""}
    ),
    "torch.conv1d": Call(
        from_weights(torch.conv1d), {"arrays": {"weight": ones(2, 1, 3)}, "x": "x", "stride": 1, "padding": 0}
    ),
    "torch.layer_norm": Call(
        from_weights(torch.layer_norm), {"arrays": {"weight": ones(3)}, "x": "x", "epsilon": 1e-5}
    ),
    "torch.from_module": Call(lambda: torch.from_module, {"module": None, "shape": ["rows", 3]}),
}  # fmt: skip

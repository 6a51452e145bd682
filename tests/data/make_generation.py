"""Records what transformers' ``generate`` gives for a model that is a table of logits.

Run with torch and transformers installed: ``python tests/data/make_generation.py``. Writes
``generation_expected.json`` beside itself. The logits of the next
token are table[position % rows, last token],
float32; the position of the first new token is 0.
"""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

VOCABULARY, START, END, SECOND_END, PADDING = 9, 1, 2, 3, 0
ROWS, NEW, SEEDS = 8, 8, 4


class Config(PretrainedConfig):
    model_type = "table"
    vocab_size = VOCABULARY
    num_hidden_layers = 1
    hidden_size = 1
    num_attention_heads = 1


class Table(PreTrainedModel, GenerationMixin):
    config_class = Config

    def __init__(self, config: Config, table: np.ndarray) -> None:
        super().__init__(config)
        self.unused = torch.nn.Parameter(torch.zeros(1))
        self.table = torch.tensor(table)

    def forward(self, input_ids, **_):
        positions = torch.arange(input_ids.shape[1]) % len(self.table)
        return CausalLMOutput(logits=self.table[positions[None], input_ids])

    def prepare_inputs_for_generation(self, input_ids, **_):
        return {"input_ids": input_ids}

    def _reorder_cache(self, past, beams):
        return past


class Favour(LogitsProcessor):
    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, 5] += 0.5 * input_ids.shape[1]
        return scores


BEAM = {"num_beams": 3, "num_return_sequences": 3}
CASES = {
    "greedy": {},
    "greedy repetition": {"repetition_penalty": 1.7},
    "greedy n-grams": {"no_repeat_ngram_size": 2},
    "greedy unigrams": {"no_repeat_ngram_size": 1},
    "greedy least": {"min_new_tokens": 5},
    "greedy forced": {"forced_bos_token_id": 7, "forced_eos_token_id": 2},
    "greedy suppressed": {"suppress_tokens": [4, 6], "begin_suppress_tokens": [2, 5]},
    "greedy two ends": {"eos_token_id": [2, 3]},
    "beam": BEAM,
    "beam of seven": {"num_beams": 7, "num_return_sequences": 7},
    "beam, wider than the vocabulary": {"num_beams": 12, "num_return_sequences": 12},
    "beam, first": BEAM | {"early_stopping": True},
    "beam, never": BEAM | {"early_stopping": "never"},
    "beam, no length": BEAM | {"length_penalty": 0.0},
    "beam, long": BEAM | {"length_penalty": 2.0},
    "beam, never, long": BEAM | {"length_penalty": 2.0, "early_stopping": "never"},
    "beam, short": BEAM | {"length_penalty": -1.0},
    "beam, first, short": BEAM | {"length_penalty": -1.0, "early_stopping": True},
    "beam, repetition": BEAM | {"repetition_penalty": 1.7},
    "beam, n-grams": BEAM | {"no_repeat_ngram_size": 2},
    "beam, least": BEAM | {"min_new_tokens": 5},
    "beam, forced": BEAM | {"forced_bos_token_id": 7, "forced_eos_token_id": 2},
    "beam, suppressed": BEAM | {"suppress_tokens": [4, 6], "begin_suppress_tokens": [2, 5]},
    "beam, two ends": BEAM | {"eos_token_id": [2, 3]},
    "beam, short maximum": BEAM | {"max_new_tokens": 2},
    "beam, own processor": BEAM | {"processor": True},
    "greedy, own processor": {"processor": True},
    "beam, prefix": BEAM | {"prefix": [6, 4], "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    "beam, all": BEAM
    | {"repetition_penalty": 1.2, "no_repeat_ngram_size": 3, "min_new_tokens": 3, "suppress_tokens": [8]},
}

WARPERS = {
    "temperature": {"temperature": 0.7},
    "top k": {"top_k": 3},
    "top p": {"top_p": 0.6},
    "min p": {"min_p": 0.2},
    "typical p": {"typical_p": 0.5},
    "all": {"temperature": 1.3, "top_k": 6, "top_p": 0.9, "min_p": 0.05, "typical_p": 0.9},
    "top k, ties": {"top_k": 3},
    "top p, ties": {"top_p": 0.6},
    "top p, more ties": {"top_p": 0.9},
    "typical p, ties": {"typical_p": 0.4},
    "typical p, more ties": {"typical_p": 0.7},
}
"""Those of ties are of tables rounded to whole numbers."""


def table(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((ROWS, VOCABULARY, VOCABULARY)) * 2).astype(
        np.float32
    )


def generated(seed: int, options: dict) -> list[dict]:
    options = {"max_new_tokens": NEW, "eos_token_id": END, "num_beams": 1} | options
    prompt = [START, *options.pop("prefix", [])]
    processors = [Favour()] if options.pop("processor", False) else []
    config = GenerationConfig(
        bos_token_id=START, pad_token_id=PADDING, do_sample=False, return_dict_in_generate=True,
        output_scores=True, use_cache=False, **options,
    )  # fmt: skip
    model = Table(Config(), table(seed)).eval()
    found = model.generate(torch.tensor([prompt]), generation_config=config, logits_processor=processors)
    beams = options["num_beams"] > 1
    transition = model.compute_transition_scores(
        found.sequences, found.scores, found.beam_indices if beams else None, normalize_logits=not beams
    )
    rows = []
    ends = np.atleast_1d(options["eos_token_id"]).tolist()
    for index, sequence in enumerate(found.sequences):
        tokens = sequence.tolist()[len(prompt) :]
        if any(token in ends for token in tokens):
            tokens = tokens[: 1 + min(tokens.index(end) for end in ends if end in tokens)]
        scores = transition[index].tolist()[: len(tokens)]
        score = found.sequences_scores[index].item() if beams else sum(scores)
        rows.append({"tokens": tokens, "score": score})
    return rows


def warped(seed: int, options: dict, ties: bool) -> list[float]:
    """Log-probabilities after the warpers."""
    logits = np.round(table(seed)) if ties else table(seed)
    config = GenerationConfig(do_sample=True, **({"top_k": 0} | options))
    model = Table(Config(), table(seed)).eval()
    config._eos_token_tensor = None
    processors = model._get_logits_processor(config, input_ids_seq_length=1, logits_processor=[])
    scores = processors(torch.tensor([[START]]), torch.tensor(logits[0, START])[None])
    return torch.log_softmax(scores, -1)[0].tolist()


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    recorded = {
        "versions": {"transformers": transformers.__version__, "torch": torch.__version__},
        "tables": [table(seed).tolist() for seed in range(SEEDS)],
        "cases": [
            {"name": name, "options": options, "seed": seed, "hypotheses": generated(seed, options)}
            for name, options in CASES.items()
            for seed in range(SEEDS)
        ],
        "warped": [
            {
                "name": name,
                "options": options,
                "seed": seed,
                "log_probabilities": warped(seed, options, "ties" in name),
            }
            for name, options in WARPERS.items()
            for seed in range(SEEDS)
        ],
    }
    target = Path(__file__).with_name("generation_expected.json")
    target.write_text(json.dumps(recorded, indent=None, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()

"""Makes what two packages compute with PyTorch: speech embeddings and forecasts of ammonia.

pip install torch==2.13.0 librosa==0.11.0 pandas soundfile && python -m tests.data.make_packages
"""

from __future__ import annotations

from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pandas
import soundfile
import torch
from tinyseq.demo.vad.run import CLIP

from tests import assets
from tests.packages import imported

TARGET = Path(__file__).with_name("packages_expected.npz")
LENGTHS = (29, 17, 23)


def speaker() -> dict[str, np.ndarray]:
    """Resemblyzer's embedding of the demo's clip, and of each window of it."""
    unneeded = {name: MagicMock() for name in ("scipy.ndimage.morphology", "webrtcvad")}
    with imported(assets.fetch("speaker-package"), "resemblyzer.voice_encoder", unneeded) as module:
        sound, _ = soundfile.read(CLIP, dtype="float32")
        encoder = module.VoiceEncoder("cpu", verbose=False)
        embedding, partials, _ = encoder.embed_utterance(sound, return_partials=True)
    return {"speaker.embedding": embedding, "speaker.partials": partials}


def ammonia() -> dict[str, np.ndarray]:
    """The series that nh3pred makes of three fields, cut to different lengths, and its forecasts."""
    with imported(assets.fetch("ammonia-package"), "nh3pred.prediction", {}) as module:
        model, continuous, categories, norms, device, response = module._load_model()
        fields = {"id": [1, 2, 3], "app_method": ["bc", "ts", "os"], "tan_app": [50.0, 80.0, 120.0],
                  "fer_dm": [4.0, 7.5, 2.0], "crop": ["grass", "cereal", "bare soil"]}  # fmt: skip
        prepared, _ = module._prepare_data(pandas.DataFrame(fields), idat=None)
        series = [(key, rows[:length]) for (key, rows), length in zip(prepared.groupby("id"), LENGTHS)]
        with torch.inference_mode():
            forecasts = module._predict_prepared_groups(
                series, model, continuous, categories, device, 128, norms, response
            )
    assert response == "physical"
    return {
        "ammonia.lengths": np.array([len(rows) for _, rows in series], np.int32),
        "ammonia.continuous": np.concatenate([r[continuous].to_numpy(np.float32) for _, r in series]),
        "ammonia.categories": np.concatenate([r[categories].to_numpy(np.int64) for _, r in series]),
        "ammonia.hours": np.array(norms["dt"], np.float64),
        "ammonia.rate": np.array(model.kinetic_rate_scale, np.float64),
        "ammonia.forecasts": np.concatenate(list(forecasts.values())),
    }


if __name__ == "__main__":
    np.savez_compressed(TARGET, **speaker(), **ammonia())

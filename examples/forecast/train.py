"""Makes the models of the demonstration, or one of a CSV file.

python -m examples.forecast.train [load | weather | stock]
python -m examples.forecast.train --csv FILE --column NAME --season STEPS --horizon STEPS --output MODEL
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from .data import SERIES, Series, fetched, read_csv, ship
from .export import export
from .features import Online, naive
from .forecaster import FOLDER
from .network import Network, pinball

SEED = 7
STEPS = {"load": 200, "weather": 400, "stock": 400}
"""Of training; the nine weeks of power load are learnt by heart soon."""
OWN_STEPS = 400
BATCH = 16
WARM = 24
"""Steps of a window before its errors count: the state begins at nothing."""


def prepared(values: np.ndarray, season: int, horizon: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, targets [steps, horizon] in the unit of the model, and that unit, of each step of a series
    from when a season has come, and whose targets are known."""
    online = Online(season, horizon)
    features, scales = [], []
    for value in values:
        features.append(online.push(value))
        scales.append(max(online.scale, 1e-12))
    at = np.arange(season, len(values) - horizon)
    true = np.lib.stride_tricks.sliding_window_view(values[1:], horizon)[at]
    scale = np.array(scales)[at]
    target = (true - naive(values, at, season, horizon)) / scale[:, None]
    return np.array(features)[at], target.astype(np.float32), scale


def train(parts: Sequence[np.ndarray], series: Series, steps: int = OWN_STEPS, seed: int = SEED) -> Network:
    """A network for some series of one kind, none of whose last values is seen.

    The last fifth of what is seen says which of the averages of weights on the way is best.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    seen = [
        prepared(part[: round(len(part) * (1 - series.tested))], series.season, series.horizon)
        for part in parts
    ]
    cut = [len(features) * 4 // 5 for features, _, _ in seen]
    held = [
        (torch.tensor(x[at - WARM :])[None], torch.tensor(y[at:])[None]) for (x, y, _), at in zip(seen, cut)
    ]
    window = (
        min(*cut, max(2 * series.horizon, 96) + WARM)
        if len(cut) > 1
        else min(cut[0], max(2 * series.horizon, 96) + WARM)
    )
    network = Network(series.horizon)
    mean = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), 4e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    best, kept = np.inf, copy.deepcopy(mean.state_dict())
    bar = tqdm(range(steps), unit="step", desc=series.title[:30])
    for step in bar:
        which = rng.integers(len(seen), size=BATCH)
        starts = [rng.integers(cut[one] - window + 1) for one in which]
        x = torch.tensor(
            np.stack([seen[one][0][start : start + window] for one, start in zip(which, starts)])
        )
        y = torch.tensor(
            np.stack([seen[one][1][start : start + window] for one, start in zip(which, starts)])
        )
        loss = pinball(network(x)[:, WARM:], y[:, WARM:])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            decay = min(0.98, step / (step + 10))
            for average, own in zip(mean.parameters(), network.parameters()):
                average.lerp_(own, 1 - decay)
            if step % 25 == 24:
                loss = np.mean([float(pinball(mean(x)[:, WARM:], y)) for x, y in held])
                if loss < best:
                    best, kept = loss, copy.deepcopy(mean.state_dict())
                bar.set_postfix(held=f"{loss:.4f}", best=f"{best:.4f}")
    mean.load_state_dict(kept)
    return mean


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m examples.forecast.train", description=__doc__)
    parser.add_argument("name", nargs="*", help=f"which of {', '.join(SERIES)} (default: all)")
    parser.add_argument("--csv", type=Path, help="a series of yours instead")
    parser.add_argument("--column", help="its column (default: the last)")
    parser.add_argument("--season", type=int, default=1, help="steps after which it looks alike (default: 1)")
    parser.add_argument("--horizon", type=int, default=10, help="steps ahead (default: 10)")
    parser.add_argument("--output", type=Path, default=Path("forecast.tinyseq"), help="the model to write")
    parser.add_argument("--steps", type=int, default=OWN_STEPS, help="of its training (default: 400)")
    args = parser.parse_args()
    if args.csv is not None:
        series = Series(args.csv.name, "", "step", args.season, args.horizon, 0.25)
        export(train([read_csv(args.csv, args.column)], series, args.steps), args.output)
        return
    for name in args.name or SERIES:
        export(train(fetched(name), SERIES[name], STEPS[name]), FOLDER / f"{name}.tinyseq")
    ship()


if __name__ == "__main__":
    main()

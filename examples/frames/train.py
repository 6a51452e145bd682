"""Makes the model of the demonstration.

python -m examples.frames.train
"""

from __future__ import annotations

import argparse

import torch
from tqdm import tqdm

from .data import SIZE, films
from .export import export
from .foresight import MODEL
from .network import Network

SEED = 5
STEPS = 600
BATCH = 8
SEEN, OWN = 6, 6
"""Frames of a film that the network sees, and those after that it sees as it drew them itself."""


def train(steps: int = STEPS) -> Network:
    """A network that draws the next frame, and the one after from its own drawing, and so on."""
    torch.manual_seed(SEED)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    bar = tqdm(range(steps), unit="step")
    for step in bar:
        film = torch.tensor(films(BATCH, SEEN + OWN + 1, SEED + step))[:, :, None]
        h = c = torch.zeros(BATCH, network.channels, SIZE, SIZE)
        loss, drawn = torch.zeros(()), film[:, 0]
        # Own drawings come in once there is something to see in them.
        seen = SEEN if step > steps // 3 else SEEN + OWN
        for at in range(SEEN + OWN):
            scores, h, c = network(film[:, at] if at < seen else drawn, h, c)
            drawn = torch.sigmoid(scores)
            if at:  # one frame does not say where things go
                loss = loss + torch.nn.functional.binary_cross_entropy_with_logits(scores, film[:, at + 1])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        bar.set_postfix(loss=f"{loss.item() / (SEEN + OWN - 1):.4f}")
    return network.eval()


def main() -> None:
    """The command."""
    argparse.ArgumentParser(prog="python -m examples.frames.train", description=__doc__).parse_args()
    export(train(), MODEL)


if __name__ == "__main__":
    main()

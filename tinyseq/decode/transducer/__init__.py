"""Transducer decoding: greedy and beam search over encoder frames, a prediction network and a joiner."""

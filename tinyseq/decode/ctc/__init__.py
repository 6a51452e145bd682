"""CTC decoding: the best path and prefix beam search."""

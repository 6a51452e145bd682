"""What real clients send to the voice detector of the package, and tests feed the model itself."""

import numpy as np

CHUNKS = np.random.default_rng(7).normal(0, 0.1, (6, 1, 576)).astype(np.float32)
RATE = np.array(16000, np.int64)

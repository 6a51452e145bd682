"""Recognisers and voice detectors behind a server: from tables of ``serve.toml`` to live streams."""

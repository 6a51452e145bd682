"""Tests of the demonstrations, each with the model that it brings along."""

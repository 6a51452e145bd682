"""The tests, and the assets they share with the benchmarks."""

"""Kernels: what the rows of a program run, compiled ahead of time; and the programs, as rows of integers."""

"""Tells which exercise a smartwatch's wearer does, while it is being done.

The way of the data: ``data`` has the recordings, ``classifier`` streams one and gives probabilities at every
step, ``picture`` draws how they unfold.
"""

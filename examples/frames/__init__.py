"""Sees shapes move and bounce, and goes on drawing what comes next.

The way of the data: ``data`` has films of moving shapes, ``foresight`` streams their frames and then its own,
``picture`` draws both side by side.
"""

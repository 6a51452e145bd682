"""Models as they are met in the field, small ones of each kind, and what is right written out in NumPy."""

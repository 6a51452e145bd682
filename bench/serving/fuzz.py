def fuzz(*a): return []

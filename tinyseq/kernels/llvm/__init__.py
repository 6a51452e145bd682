"""What differs between instruction sets, and what Numba's Python cannot say, in LLVM IR."""

"""Kernels for small and ternary transformers: array types, and operations with one definition and many implementations.

A library of its own: it imports nothing of `orchestai_jax`. `orchestai_kernels.arrays` holds the packed array types,
each operation is a package named for it.
"""

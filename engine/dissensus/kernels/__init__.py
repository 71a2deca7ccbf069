"""What is computed: arrays in, arrays out; no checks, no files, no schedulers.

Importing a module of this folder loads numba, so the layers above import them inside functions.
"""

"""What is stored: the format, the commit protocol, the catalog, reading and verification.

Knows no measure and no model; needs NumPy, pyarrow and crc32c only.
"""

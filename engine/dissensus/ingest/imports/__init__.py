"""Predictions, labels and metadata that exist in files: found, checked, aligned, stored.

``source`` and its readers (``arrays``, ``tables``, ``json_files``) give rows; ``align`` puts them into the
store's order; ``detect`` tells their kind; ``run`` stores them; ``suspicions`` says what looks wrong.
"""

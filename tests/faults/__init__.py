"""The suite of faults: what the store promises under kills, full disks, damaged files, rivals and strangers.

    python -m tests.faults          # a sample of each fault, as the tests run it
    python -m tests.faults --full   # all of them; writes benchmarks/results/<machine>-faults.json

`table.py` lists the faults. Every one is a function that tries many cases of it and returns a `Figure`.
"""

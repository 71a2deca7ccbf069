"""Benchmarks of the engine itself on zoos of any size: synthetic models, jobs, sweeps."""

from .budget import Budget
from .sweep import Sweep, sweep
from .synthetic import Statistics, SyntheticZoo

__all__ = ["Budget", "Statistics", "Sweep", "SyntheticZoo", "sweep"]

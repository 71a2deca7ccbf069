"""A real zoo to show the engine: trained here, ingested from its weights, asked what to combine.

`recipes` says what a recipe is, `families` and `members` list them; `data` and `other` give images;
`training`, `networks`, `augment`, `classical` and `patches` make models; `weights` keeps them; `zoo`, `crew`
and `worker` train what is missing; `report` says what was found; `run` has the whole of it. Importing this
package loads neither torch nor scikit-learn.
"""

from __future__ import annotations

from .run import DemoResult, run_demo

__all__ = ["DemoResult", "run_demo"]

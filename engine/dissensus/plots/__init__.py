"""Pictures of answers. Loads matplotlib and scipy (the extra `plots`) when something is drawn."""

from .picture import heatmap, rendered, require_plots

__all__ = ["heatmap", "rendered", "require_plots"]

"""Why models differ and ensembles gain. Nothing but the command line, and results that ask, imports it."""

"""How models run over examples: rounds that decode once, devices, processes, and the plan of all that."""

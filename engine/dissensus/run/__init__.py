"""How it runs: memory budgets and progress. The only layer that will know about schedulers."""

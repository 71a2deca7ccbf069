"""Why: what a zoo says about its models, as figures, tested claims and ledgers. Knows no scheduler."""

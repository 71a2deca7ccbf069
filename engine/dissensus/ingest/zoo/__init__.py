"""Where models come from: sources that load to predictors, and what is known of them."""

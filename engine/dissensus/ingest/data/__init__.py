"""Where examples come from: arrays, files, folders, archives, datasets, read a batch at a time."""

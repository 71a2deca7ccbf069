"""The command line of Dissensus: each command parses, calls the library once and prints."""

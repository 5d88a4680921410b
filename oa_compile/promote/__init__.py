"""From a validated artifact to the one in use: evidence, gates, and a store whose journal is the truth."""

"""What a compile leaves behind: the run folder, the artifact with its provenance, the replay bundle."""

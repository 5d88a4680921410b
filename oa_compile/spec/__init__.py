"""What a user writes: program specs and configs, as typed models with file-and-line diagnostics."""

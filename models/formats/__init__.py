"""What may lie in the files of each format, and what is refused: nothing here runs a model."""

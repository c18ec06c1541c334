"""What a model is: its schema, its manifest, its files, and the registry that names versions."""

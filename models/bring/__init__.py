"""From a model as somebody has it to a stored version behind an endpoint."""

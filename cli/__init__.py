"""The `switchyard` command: one module per command group, only wiring."""

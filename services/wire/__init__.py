"""Wire formats: pure functions between bytes and typed columns, one module per protocol."""

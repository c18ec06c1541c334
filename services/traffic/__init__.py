"""Which variant answers a request and which see a copy of it: pure functions, no I/O."""

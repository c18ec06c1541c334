"""What processes say of themselves and of single requests: log lines and traces."""

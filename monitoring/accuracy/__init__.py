"""How good the answers were, in windows of time, from feedback."""

"""What is remembered of every prediction: the log, the feedback, the metrics."""

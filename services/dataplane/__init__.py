"""The hot path: lean ASGI dispatch, batches, and the hop from router to host."""

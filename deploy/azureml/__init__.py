"""Azure ML: a managed online endpoint, and a deployment of its own for every release."""

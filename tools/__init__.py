"""What can be seen and done: Google Cloud, vLLM, logs, sizing, serving."""

"""The vLLM endpoint: whether it answers, what it measures, how it behaves."""

"""A Google Cloud and a vLLM endpoint on loopback, fed by a scenario file, for demo and tests."""

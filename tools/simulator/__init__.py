"""A simulated Google Cloud and vLLM endpoint on loopback, for the demo and the tests."""

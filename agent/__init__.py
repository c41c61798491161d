"""Thinking: the graph, the model, the verdict, the memory."""

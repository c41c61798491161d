"""The read tools that a model may call: each looks, none changes anything."""

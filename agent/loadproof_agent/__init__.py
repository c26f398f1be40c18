"""The agent: a supervisor that obeys one controller, and the worker processes that make the load."""

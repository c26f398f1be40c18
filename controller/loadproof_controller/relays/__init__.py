"""Relays: agents that reach the controller through another process, which merges what they measure."""

"""A relay: agents attach to it as to a controller, and what they measure reaches the controller merged."""

"""A running controller as others see it over gRPC: `server` beside the controller, `client` wherever people are."""

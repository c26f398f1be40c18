"""What people see of a controller in a browser, and what programs ask it over HTTP."""

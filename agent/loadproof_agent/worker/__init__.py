"""A worker process: imports the suite, keeps to the schedule, runs virtual users, measures. Never imports grpc."""

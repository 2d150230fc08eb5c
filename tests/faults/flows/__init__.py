"""What providers and the shop do while the hub is crashed: one story per flow, and how each must end."""

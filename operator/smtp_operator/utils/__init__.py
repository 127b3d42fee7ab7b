"""What any program could use: time that is handed in, tasks with an owner."""

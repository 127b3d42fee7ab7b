"""Pure builders, one file a kind of child: a fleet in, a dictionary for server-side apply out."""

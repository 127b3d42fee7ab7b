"""The only importer of kubernetes: seven verbs, watches, and errors of our own."""

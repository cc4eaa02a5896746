"""Where rows and bytes come from: one kind of source a file."""

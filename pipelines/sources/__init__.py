"""Sources of rows and images, one kind of source per folder."""

"""Captions by models: requests, answers that are kept, engines, and the choice among captions."""

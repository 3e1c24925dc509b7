"""The shipped methods, a file of about a page each."""

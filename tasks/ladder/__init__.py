"""The ladder: a procedurally generated world of word problems with a small base model."""

"""One round after the other: what fooled the classifier is painted more of, what is ID is dropped."""

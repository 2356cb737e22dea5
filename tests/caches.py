"""Variables that say where engines and embeddings are kept; a test session has folders of its own."""

CACHES = ("DOGFAST_ENGINES", "DOGFAST_EMBEDDINGS")

"""One door to local folders, buckets and the web: objects, errors and URLs."""

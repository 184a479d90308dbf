"""Access to storage, local folders, buckets and the web: objects, errors and URLs."""

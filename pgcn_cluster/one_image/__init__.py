"""Commands on one image without Ray: apply a task, draw samples."""

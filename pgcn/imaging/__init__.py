"""Images as tensors: scales, masks, holes, colours and tiles."""

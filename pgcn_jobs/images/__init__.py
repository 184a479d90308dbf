"""Image files to tensors and back; decoding runs in a child process."""

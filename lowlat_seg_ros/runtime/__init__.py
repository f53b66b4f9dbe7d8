"""Where a network runs: threads, CUDA streams, memory, and networks made ready for inference."""

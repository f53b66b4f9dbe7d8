"""What the two tracks cost on this machine: `make bench`, and `python -m bench.gpu` where there is a GPU."""

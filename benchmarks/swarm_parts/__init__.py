"""What benchmarks/swarm.py is put together from: the swarm's processes, our lane, its peers, the clocks."""

"""Executors: the same work in this process, in processes of this machine, or on a cluster."""

"""Benchmarks: this project beside nginx and `ssh -R`, in one run. docs/performance.md says how."""

"""Benchmarks of TaskFlow, compared with references from the same run."""

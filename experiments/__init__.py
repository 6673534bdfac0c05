"""Programs that measure.  `python -m experiments.microbench` is the first."""

"""Tables in, statements out: intervals, suppression, robustness, verdicts on claims."""

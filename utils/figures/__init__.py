"""Tables in, figures out: a file for each experiment."""

"""Spectra, training, statistics, figures."""

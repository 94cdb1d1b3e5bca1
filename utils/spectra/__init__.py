"""Any network in, spectra out: of its kernels, its feature maps and its input sensitivity."""

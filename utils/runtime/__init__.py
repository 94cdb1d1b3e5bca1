"""Around the science: settings, devices, processes, files, results and where they come from."""

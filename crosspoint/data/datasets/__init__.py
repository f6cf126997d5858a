"""Collections of objects as datasets: published ones by name, and folders of files."""

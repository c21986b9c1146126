"""Every speed that is claimed, with its peer measured in the same run."""

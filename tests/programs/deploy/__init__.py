"""What `deploy/` starts: manifests, units, images."""

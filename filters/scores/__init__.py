"""The models that score images, one file each."""

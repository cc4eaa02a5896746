"""What is asked of a captioning model, and what of its answers is a caption."""

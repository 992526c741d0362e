"""Fine-tuning of language models from preferences (VPO). Planned: see the table of papers in the README."""

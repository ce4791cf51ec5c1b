"""Losses: logits in, fp32 inside."""

"""Whole volumes: our predictor beside MONAI's and nnU-Net's, in time, memory and agreement."""

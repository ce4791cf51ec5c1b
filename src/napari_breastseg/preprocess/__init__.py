"""From a Case to the tensors that a network takes: intensity, breast region, resampling."""

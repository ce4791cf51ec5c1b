"""The dock "Breast kinetics": curves of contrast over time, what they say, and the image coloured by them."""

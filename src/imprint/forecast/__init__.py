"""Which domains an SFT set will change, before any training."""

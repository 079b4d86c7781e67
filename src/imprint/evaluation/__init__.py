"""Multiple-choice scoring and verified rollouts of language models."""

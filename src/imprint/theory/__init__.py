"""The in-context weight-prediction theory of pretraining, SFT and outcome supervision."""

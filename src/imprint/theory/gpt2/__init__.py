"""A GPT-2-style transformer on the weight-prediction task; torch is loaded when it is used."""

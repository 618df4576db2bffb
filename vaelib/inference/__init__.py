"""Other roads to the posterior than an encoder trained on the evidence lower bound."""

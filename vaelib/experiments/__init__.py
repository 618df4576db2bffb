"""Long runs: `python -m vaelib.experiments NAME` leaves a record that the book reads."""

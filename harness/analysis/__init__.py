"""Pure functions over rows: intervals, paired tests, power, economics, verdict. No I/O, no model, no database."""

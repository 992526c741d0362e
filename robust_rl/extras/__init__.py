"""Further papers of the same research line, one folder each: see the table of papers in the README."""

"""Further papers of the same research line, one folder each. Planned: see the table of papers in the README."""

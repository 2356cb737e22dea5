"""The papers' tables, a concept a file: what their rows are, how a row is made, what it is worth, and how it is written."""

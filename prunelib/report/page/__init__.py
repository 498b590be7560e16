"""The page: one self-contained HTML file, filled in from the tables by templates."""

"""From finished runs to something a reader opens: tidy tables, claims, figures, one page. No torch in this room."""

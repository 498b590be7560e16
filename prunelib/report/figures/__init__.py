"""Every figure of the report, drawn from tables and from what runs left, with the numbers behind it as CSV."""

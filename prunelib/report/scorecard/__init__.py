"""Every published number and claim beside ours, each with a verdict by written rules (docs/scorecard.md)."""

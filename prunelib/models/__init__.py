"""Networks: plain functions that build them, by name; what a seed fixes at initialisation."""

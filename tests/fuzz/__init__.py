"""Fuzzing of every reader of foreign bytes: ``python -m tests.fuzz``; a short version runs with the tests."""

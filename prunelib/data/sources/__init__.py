"""Where data sets come from: one registered function per source, ``source(seed, **options)``."""

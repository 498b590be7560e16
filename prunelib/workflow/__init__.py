"""What the Snakefile and the step scripts need: inputs and parameters of a run, code digests, the lock, stub outputs."""

"""What the Snakefile and the step scripts need: inputs and parameters, code digests, the lock, stub outputs."""

#!/bin/sh
# cancel.sh JOB...: cancel jobs, as Snakemake does when it is interrupted.
case ${PRUNELIB_SCHEDULER:-slurm} in
  slurm) scancel "$@" ;;
  lsf) bkill "$@" ;;
  pbs | sge) qdel "$@" ;;
esac

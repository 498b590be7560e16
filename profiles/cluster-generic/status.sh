#!/bin/sh
# status.sh JOB: print running, success or failed. While nobody answers a job is running (an outage loses nothing); a job
# that the scheduler says it does not know has failed (it would be waited for for ever).
job=$1
case ${PRUNELIB_SCHEDULER:-slurm} in
  slurm)
    state=$(squeue -h --states=all -j "$job" -o %T 2>&1 | head -n 1)
    case $state in
      *"Invalid job id"* | "") # forgotten by the controller: the accounting may know
        known=$(sacct -X -n -P -j "$job" -o State 2>/dev/null) && state=${known:-$state} ;;
    esac
    case $state in
      COMPLETED) echo success ;;
      *"Invalid job id"* | FAILED* | CANCELLED* | TIMEOUT* | OUT_OF_ME* | NODE_FAIL* | BOOT_FAIL* | DEADLINE* | \
        PREEMPTED* | REVOKED*) echo failed ;;
      *) echo running ;;
    esac
    ;;
  lsf)
    state=$(bjobs -noheader -o stat "$job" 2>&1)
    case $state in
      DONE) echo success ;;
      EXIT | *"is not found"*) echo failed ;;
      *) echo running ;;
    esac
    ;;
  pbs)
    state=$(qstat -x -f "$job" 2>&1)
    case $state in
      *"job_state = F"*"Exit_status = 0"* | *"Exit_status = 0"*"job_state = F"*) echo success ;;
      *"job_state = F"* | *"Unknown Job Id"*) echo failed ;;
      *) echo running ;;
    esac
    ;;
  sge)
    if qstat -j "$job" >/dev/null 2>&1; then
      echo running
    else # finished, and its account is written a moment later
      ended=$(qacct -j "$job" 2>/dev/null) || ended=
      case $(echo "$ended" | awk '$1 == "failed" { f = $2 } $1 == "exit_status" { e = $2 } END { print f "/" e }') in
        0/0) echo success ;;
        /) echo running ;;
        *) echo failed ;;
      esac
    fi
    ;;
esac

#!/bin/sh
# submit.sh NAME THREADS MEM_MB MINUTES GPUS SCRIPT: submit a job and print its id and nothing else.
# PRUNELIB_SCHEDULER: slurm (default), lsf, pbs or sge. PRUNELIB_SUBMIT: further options of its submit command.
set -eu
name=prunelib-$1 threads=$2 memory=$3 minutes=$4 gpus=$5 script=$6
logs=results/logs/cluster
mkdir -p "$logs"
# Without `set --` the options of PRUNELIB_SUBMIT could not be told from the script.
# shellcheck disable=SC2086
set -- ${PRUNELIB_SUBMIT:-}
case ${PRUNELIB_SCHEDULER:-slurm} in
  slurm)
    # Retries are Snakemake's: a job that SLURM started again too would have two writers.
    [ "$gpus" = 0 ] || set -- --gres="gpu:$gpus" "$@"
    sbatch --parsable --no-requeue --job-name="$name" --output="$logs/$name-%j.log" --ntasks=1 \
      --cpus-per-task="$threads" --mem="$memory" --time="$minutes" "$@" "$script" | cut -d ';' -f 1
    ;;
  lsf)
    [ "$gpus" = 0 ] || set -- -gpu "num=$gpus" "$@"
    bsub -rn -J "$name" -o "$logs/$name-%J.log" -n "$threads" -R "span[hosts=1] rusage[mem=${memory}MB]" \
      -M "${memory}MB" -W "$minutes" "$@" "$script" | sed -n 's/^Job <\([0-9]*\)>.*/\1/p'
    ;;
  pbs)
    chunk=select=1:ncpus=$threads:mem=${memory}mb
    [ "$gpus" = 0 ] || chunk=$chunk:ngpus=$gpus
    qsub -r n -N "$name" -j oe -o "$logs/" -l "$chunk" -l "walltime=$minutes:00" "$@" "$script"
    ;;
  sge)
    [ "$gpus" = 0 ] || set -- -l "gpu=$gpus" "$@"
    qsub -terse -r n -cwd -S /bin/sh -N "$name" -j y -o "$logs/" -pe smp "$threads" \
      -l "h_vmem=$((memory / threads))M" -l "h_rt=$((minutes * 60))" "$@" "$script"
    ;;
  *)
    echo "PRUNELIB_SCHEDULER=$PRUNELIB_SCHEDULER: must be slurm, lsf, pbs or sge" >&2
    exit 2
    ;;
esac

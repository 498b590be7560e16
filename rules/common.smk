# The plan of this configuration (checked before anything else), the lock, and what every rule shares.
import os
import sys
from pathlib import Path

from prunelib.commands.status import show
from prunelib.workflow.costs import Costs
from prunelib.workflow.lock import guard
from prunelib.workflow.plan import Plan

try:
    plan = Plan(config)
except PrunelibError as error:
    raise WorkflowError(f"The configuration can't be used. {error}") from None

costs = Costs(plan)

# Only the process that starts jobs takes the lock; the jobs themselves read this file again. Who only looks needs none.
looking = workflow.is_main_process and (
    workflow.output_settings.dryrun or plan.settings.partial or "status" in sys.argv
)
if workflow.is_main_process:
    try:
        if not guard(Path(os.getcwd()), keep=not looking) and plan.settings.partial and "--nolock" not in sys.argv:
            raise WorkflowError(
                "Add --nolock: beside a running pipeline a partial report writes below results/partial only."
            )
    except PrunelibError as error:
        raise WorkflowError(str(error)) from None


if plan.settings.container:

    container: plan.settings.container


wildcard_constraints:
    **plan.constraints(),


# How many runs are done, running, failed or missing, also while another Snakemake is at work here.
rule status:
    log:
        "results/logs/report/status.log",
    localrule: True
    run:
        show(plan.grid.runs, Path(log[0]))

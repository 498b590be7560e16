# The plan of this configuration (checked before anything else), the lock, and what every rule shares.
import os
import sys
from pathlib import Path

from prunelib.commands.status import show
from prunelib.workflow.costs import Costs
from prunelib.workflow.finished import AGAIN, begin
from prunelib.workflow.lock import guard
from prunelib.workflow.plan import Plan

# Where files are copied from a store and back, the jobs of batches, which depend on stamps, would miss their inputs.
if workflow.storage_settings and workflow.storage_settings.default_storage_provider:
    config["batch"] = 1

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
        alone = guard(Path(os.getcwd()), keep=not looking)
        if not alone and plan.settings.partial and "--nolock" not in sys.argv:
            raise WorkflowError(
                "Add --nolock: beside a running pipeline a partial report writes below results/partial only."
            )
        if alone and not looking:
            begin(plan)
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


# Who forces jobs to run wants them to compute.
onstart:
    if workflow.dag_settings.forceall or workflow.dag_settings.forcerun:
        os.environ[AGAIN] = "1"

# The plan of this configuration (checked before anything else), the lock, and what every rule shares.
import os
from pathlib import Path

from prunelib.workflow.lock import guard
from prunelib.workflow.plan import Plan

try:
    plan = Plan(config)
except PrunelibError as error:
    raise WorkflowError(f"The configuration can't be used. {error}") from None

# Only the process that starts jobs takes the lock; the jobs themselves read this file again.
if workflow.is_main_process:
    try:
        guard(Path(os.getcwd()), keep=not workflow.output_settings.dryrun)
    except PrunelibError as error:
        raise WorkflowError(str(error)) from None


wildcard_constraints:
    **plan.constraints(),

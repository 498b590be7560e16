# Regenerates every result of the four papers. `snakemake` does it all, `snakemake oes` one paper, any path one result.
from snakemake.exceptions import WorkflowError
from snakemake.utils import min_version

from prunelib.config import read
from prunelib.errors import PrunelibError

min_version("9.0")


# A configuration file given on the command line replaces the quick grid, it is not merged into it.
if "grid" not in config:
    try:
        read("config.yaml")  # says where a broken file is broken
    except PrunelibError as error:
        raise WorkflowError(f"The configuration can't be used. {error}") from None

    configfile: "config.yaml"


include: "rules/common.smk"


# A partial report looks at the runs there are; nothing in the workflow can make one.
if not plan.settings.partial:

    include: "rules/data.smk"
    include: "rules/oes.smk"
    include: "rules/expanders.smk"
    include: "rules/isomorphic.smk"
    include: "rules/ising.smk"
    include: "rules/crossover.smk"
    include: "rules/pictures.smk"


include: "rules/report.smk"


rule all:
    default_target: True
    input:
        lambda wildcards: wanted(),
        f"{ROOT}/report/index.html",

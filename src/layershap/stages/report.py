"""Stage report: one page and a model card, from what the other stages wrote."""

from layershap import paths, report, tracking
from layershap.files import file_digest, replacing
from layershap.params import load_params


def run() -> None:
    """Write report.html and model_card.md, and add them to the model's run."""
    params = load_params()
    content = report.facts(params)
    with replacing(paths.REPORTS) as partial:
        partial.mkdir()
        for path, template in ((paths.REPORT, "report.html.j2"), (paths.CARD, "model_card.md.j2")):
            (partial / path.name).write_text(report.render(template, content), encoding="utf-8")
    run = tracking.join_run(file_digest(paths.MODEL_WEIGHTS))
    run.log_artifacts(paths.REPORTS)
    run.describe(paths.CARD.read_text(encoding="utf-8"))
    print(f"{paths.REPORT}, {paths.CARD}")

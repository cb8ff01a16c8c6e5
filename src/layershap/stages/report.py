"""Stage report: one page and a model card, from what the other stages wrote."""

from layershap.reporting import report
from layershap.workspace import paths
from layershap.workspace.files import replacing
from layershap.workspace.params import load_params


def run() -> None:
    """Write report.html, model_card.md and the picture of the learning curve."""
    content = report.facts(load_params())
    with replacing(paths.REPORTS) as partial:
        partial.mkdir()
        (partial / paths.REPORT_CURVE.name).write_bytes(report.learning_curve())
        for path, template in ((paths.REPORT, "report.html.j2"), (paths.CARD, "model_card.md.j2")):
            (partial / path.name).write_text(report.render(template, content), encoding="utf-8")
    print(f"{paths.REPORT}, {paths.CARD}")

"""Stage report: one page, a model card and small contact sheets, from what the other stages wrote."""

from layershap.reporting import report
from layershap.reporting.small_sheet import small_sheets
from layershap.workspace import paths
from layershap.workspace.files import replacing
from layershap.workspace.params import load_params


def run() -> None:
    """Write report.html, model_card.md, the picture of the learning curve, and the small sheets for MLflow's grid."""
    params = load_params()
    content = report.facts(params)
    with replacing(paths.REPORTS) as partial:
        partial.mkdir()
        (partial / paths.REPORT_CURVE.name).write_bytes(report.learning_curve())
        for path, template in ((paths.REPORT, "report.html.j2"), (paths.CARD, "model_card.md.j2")):
            (partial / path.name).write_text(report.render(template, content), encoding="utf-8")
        (partial / paths.SMALL_SHEETS.name).mkdir()
        for name, picture in small_sheets(content["model"]["image_size"], params.explain.pale):
            (partial / paths.SMALL_SHEETS.name / f"{name}.png").write_bytes(picture)
    print(f"{paths.REPORT}, {paths.CARD}")

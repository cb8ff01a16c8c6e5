"""Stage record: what all other stages wrote, to the run of the model. The only stage beside train that knows MLflow."""

from layershap.tracking.record import record_folds, record_pipeline, record_study, recorded
from layershap.workspace import paths
from layershap.workspace.files import write_json
from layershap.workspace.params import load_params
from layershap.workspace.quiet import quiet_libraries

OUTS = (
    paths.SPLIT_TABLE,
    paths.MODELS,
    paths.METRICS,
    paths.LEARNING_CURVE,
    paths.PREDICTIONS,
    paths.LAYERS_TABLE,
    paths.EVALUATE_PICTURES,
    paths.EXPLANATIONS,
    paths.REPORTS,
)
# columns that name a measure in each study's table
STUDIES = {"quality": (paths.QUALITY, ["measure"]), "other_faces": (paths.OTHER_FACES, ["experiment", "measure"])}


def run() -> None:
    """Bring the model's run to what the pipeline's outs say."""
    quiet_libraries()
    run = record_pipeline(load_params())
    write_json(paths.RECORDED, recorded(*OUTS))
    print(f"recorded in run {run.run_id}" if run.reachable else "kept for 'layershap sync'")


def run_study(name: str) -> None:
    """Bring the model's run to what a study says; folds have runs of their own."""
    quiet_libraries()
    if name == "folds":
        run = record_folds(paths.FOLDS, load_params())
        write_json(paths.FOLDS.with_name("folds_recorded.json"), recorded(paths.FOLDS))
        print(f"recorded in run {run.run_id}" if run.reachable else "kept for 'layershap sync'")
        return
    folder, columns = STUDIES[name]
    run = record_study(folder, name, columns)
    write_json(folder.with_name(f"{name}_recorded.json"), recorded(folder))
    print(f"recorded in run {run.run_id}" if run.reachable else "kept for 'layershap sync'")

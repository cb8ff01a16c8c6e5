"""params.yaml as typed, validated objects. There are no defaults here: params.yaml is the one place of a value."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from layershap.workspace import paths
from layershap.workspace.errors import SettingsError

# folders that stages, DVC and git write to; data/own is not among them
WRITTEN = (".dvc", ".git", "data/raw", "data/features", "data/masks", "explanations", "metrics", "mlartifacts",
           "models", "plots", "reports", "src", "study", "work")  # fmt: skip

Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# what the pipeline has names of layers of its own for; every other network is torchvision's, timm's or the user's
KNOWN_BACKBONES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", "vgg19", "vgg16", "resnet18",
                   "mobilenet_v2")  # fmt: skip
NETWORK = re.compile(r"\w+|timm/[\w@+-]+(\.[\w.@+-]+)?|\w+(\.\w+)*:\w+")
OWN_MASKS = "data/own_masks"  # where the user's masks may be put; it has none as it comes
VIEWS_OF = {"none": (1, 1), "flips": (1, 4), "standard": (2, 1000), "strong": (2, 1000)}  # fewest and most


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Data(_Section):
    """Where the images come from."""

    source: Literal["elpv", "oxford_pets", "folder"]
    path: str
    masks: str
    per_class: Count | None
    seed: Seed
    max_refused: Share

    @field_validator("masks", mode="before")
    @classmethod
    def _a_folder_anyway(cls, masks: Any) -> Any:
        """DVC cannot depend on null."""
        if masks is None:
            raise ValueError(f"must name a folder; {OWN_MASKS}, which has no masks as it comes, stands for none")
        return masks

    @field_validator("path", "masks")
    @classmethod
    def _folder_of_images(cls, path: str, info: ValidationInfo) -> str:
        """DVC takes it as it stands for a dependency of fetch: no ~, and nothing that a stage writes."""
        own, what = (OWN_MASKS, "masks") if info.field_name == "masks" else ("data/own", "images")
        if path.startswith("~"):
            raise ValueError(f"~ is not followed here, write {Path(path).expanduser()}")
        if not path.strip():
            raise ValueError(f"must name a folder, such as {own}")
        here = Path.cwd()
        found = Path(os.path.normpath(here / path))
        if found == here or found in here.parents:
            raise ValueError(f"must not be the project's folder or one above it; put the {what} into {own}")
        place = found.relative_to(here).as_posix() if found.is_relative_to(here) else ""
        for taken in WRITTEN:
            if place and (Path(place).is_relative_to(taken) or Path(taken).is_relative_to(place)):
                raise ValueError(f"must not be, hold or lie in {taken}, which stages write; put the {what} into {own}")
        return path


class Split(_Section):
    """How images are divided where the source brings no split."""

    test: Annotated[float, Field(gt=0, lt=1)]
    val: Annotated[float, Field(gt=0, lt=1)]
    group: Annotated[str, Field(min_length=1)] | None
    folds: Annotated[int, Field(ge=2, le=20)] | None
    fold: Annotated[int, Field(ge=0, lt=20)] | None
    seed: Seed

    @field_validator("fold")
    @classmethod
    def _one_of_the_folds(cls, fold: int | None, info: ValidationInfo) -> int | None:
        folds = info.data.get("folds", 20)  # a wrong one is named by itself
        if fold is not None and folds is None:
            raise ValueError("must be null where split.folds is null: it is the number of a fold")
        if fold is not None and fold >= folds:
            raise ValueError(f"must be from 0 to {folds - 1}, as split.folds is {folds}")
        return fold

    @field_validator("group")
    @classmethod
    def _one_group(cls, group: str | None) -> str | None:
        if group is None or group.endswith(".csv"):
            return group
        try:
            count = re.compile(group).groups
        except re.error as error:
            raise ValueError(f"is no regular expression ({error})") from None
        if count != 1:
            raise ValueError(f"must have one group in parentheses, such as '/(patient[0-9]+)_', and has {count}")
        return group


class Model(_Section):
    """The network below the head."""

    backbone: str
    code: Annotated[str, Field(min_length=1)]
    weights: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Field(ge=32, le=1024)] | None
    layers: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)] | None
    unfreeze: Annotated[int, Field(ge=0)] | Literal["all"]

    @field_validator("backbone")
    @classmethod
    def _written_as_a_name(cls, backbone: str) -> str:
        """Whether there is such a network is known to `model/`, which loads torch."""
        if not NETWORK.fullmatch(backbone):
            raise ValueError(
                "must be the name of a network: torchvision's (resnet50), timm's (timm/convnext_atto) or a function "
                "of your own (my_package.networks:build)"
            )
        return backbone


class Augment(_Section):
    """How images are changed for training, below the freeze boundary, and mixed, above it."""

    policy: Literal["none", "flips", "standard", "strong"]
    vertical: bool
    mix: Literal["none", "mixup"]
    mix_alpha: Annotated[float, Field(gt=0, le=10)]


class Extract(_Section):
    """The cached features."""

    views: Annotated[int, Field(ge=1, le=1000)]
    seed: Seed
    batch_size: Count

    @field_validator("views", mode="before")
    @classmethod
    def _a_number_now(cls, views: Any) -> Any:
        if isinstance(views, list):
            raise ValueError(
                f"is the number of views now, of those that augment.policy has: write {len(views)} with policy "
                f"{'flips' if len(views) > 1 else 'none'}"
            )
        return views


class Head(_Section):
    """The layers after the feature layers."""

    pool: Annotated[int, Field(ge=0, le=64)]
    hidden: list[Annotated[int, Field(ge=1, le=65536)]]
    dropout: Share


class Train(_Section):
    """Training of everything above the freeze boundary."""

    epochs: Count
    batch_size: Count
    learning_rate: Annotated[float, Field(gt=0, le=10)]
    unfrozen_learning_rate: Annotated[float, Field(gt=0, le=10)]
    layer_decay: Annotated[float, Field(gt=0, le=1)]
    schedule: Literal["cosine", "constant"]
    warmup_epochs: Annotated[int, Field(ge=0)]
    head_epochs: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0, le=10)]
    gradient_clip: Annotated[float, Field(gt=0)] | None
    class_weights: bool
    soft_labels: bool
    label_smoothing: Share
    average: Literal["none", "ema", "swa"]
    ema_decay: Annotated[float, Field(gt=0, lt=1)]
    swa_start: Share
    patience: Count
    seed: Seed

    @field_validator("warmup_epochs", "head_epochs")
    @classmethod
    def _leaves_epochs(cls, count: int, info: ValidationInfo) -> int:
        epochs = info.data.get("epochs")
        if count and epochs is not None and count >= epochs:
            raise ValueError(f"must be less than train.epochs ({epochs}): lower it or raise train.epochs")
        return count


class Evaluate(_Section):
    """Evaluation on the test images, and every later decision."""

    views: Literal[1, 2, 4]
    batch_size: Count
    mistakes: Annotated[int, Field(ge=0, le=100)]


class Explain(_Section):
    """SHAP heatmaps."""

    engine: Literal["secant", "shap"]
    path: Literal["layer", "image"]
    segments: Annotated[int, Field(ge=1, le=4096)]
    tolerance: Annotated[float, Field(gt=0, le=10)] | None
    reference: Literal["images", "mean", "blur"]
    references: Annotated[int, Field(ge=2, le=10_000)]
    more_references: Annotated[int, Field(ge=0, le=100_000)]
    output: Literal["margin", "logit", "probability"]
    images: Count | None
    mistakes: Annotated[int, Field(ge=0, le=1_000_000)]
    pictures: Count | None
    pale: bool
    seed: Seed

    @field_validator("tolerance")
    @classmethod
    def _secant_only(cls, tolerance: float | None, info: ValidationInfo) -> float | None:
        if tolerance is not None and info.data.get("engine") == "shap":
            raise ValueError("must be null with engine shap, which has no segments")
        return tolerance


class Gate(_Section):
    """What a model must reach."""

    min_accuracy: Annotated[float, Field(ge=0, le=1)]
    max_drop: Annotated[float, Field(ge=0, le=1)]
    policy: Literal["strict", "point", "lenient"]
    folds_min_accuracy: Annotated[float, Field(ge=0, le=1)] | None
    min_inside: Annotated[float, Field(ge=0, le=1)] | None
    inside_layer: Annotated[int, Field(ge=1)] | Annotated[str, Field(min_length=1)] | None
    min_agreement: Annotated[float, Field(ge=-1, le=1)] | None


class Quality(_Section):
    """The study of how good the explanations are."""

    images: Count
    references: Annotated[int, Field(ge=1, le=10_000)]
    seed: Seed


class OtherFaces(_Section):
    """The study of what in the heatmaps comes from the references."""

    images: Annotated[int, Field(ge=2, le=1_000_000)]
    sets: Annotated[int, Field(ge=2, le=1_000_000)]
    seed: Seed


class Tracking(_Section):
    """What a run of MLflow keeps, and what becomes the champion."""

    patch: bool
    promote: Literal["by_gate", "by_hand"]


class Trainer(_Section):
    """On what is computed: Lightning's Trainer and Fabric take these as they are."""

    accelerator: Literal["auto", "cpu", "gpu", "cuda", "mps"]
    devices: Annotated[int, Field(ge=1, le=1024)] | Literal["auto"]
    num_nodes: Annotated[int, Field(ge=1, le=65536)]
    strategy: Literal["auto", "ddp"]
    precision: Literal["32-true", "bf16-mixed", "16-mixed"]

    @property
    def plain(self) -> bool:
        """Return whether it asks for one process in float32 (or for as many as there are GPUs)."""
        return self.devices in ("auto", 1) and self.num_nodes == 1 and self.precision == "32-true"


class Loader(_Section):
    """Reading of images."""

    workers: Annotated[int, Field(ge=0, le=1024)]


class Runtime(_Section):
    """The machine's part in the result."""

    threads: Annotated[int, Field(ge=1, le=1024)]


class Params(_Section):
    """All settings of the pipeline; field names are the keys of params.yaml."""

    data: Data
    split: Split
    model: Model
    augment: Augment
    extract: Extract
    head: Head
    train: Train
    evaluate: Evaluate
    explain: Explain
    gate: Gate
    quality: Quality
    other_faces: OtherFaces
    tracking: Tracking
    trainer: Trainer
    loader: Loader
    launcher: Annotated[str, Field(min_length=1)] | None
    runtime: Runtime


def load_params(path: Path = paths.PARAMS) -> Params:
    """Read and check the settings file, the way DVC reads it (YAML 1.2: 1e-3 is a number, yes is a word).

    Raises SettingsError with one line per wrong key: its name, what is wrong, the value found.
    """
    return check_params(read_yaml(path), str(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file of settings or stages; raises SettingsError where there is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read ({error}); run this in the project's folder") from None
    try:
        content = YAML(typ="safe").load(text)
    except YAMLError as error:
        raise SettingsError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: holds no settings; restore it with 'git checkout {path}'")
    return content


def check_params(content: dict[str, Any], name: str = "params") -> Params:
    """Turn plain settings into Params, or raise SettingsError naming every wrong key."""
    try:
        params = Params.model_validate(content)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{name}: {_line(item)}" for item in error.errors())) from None
    if lines := list(_at_odds(params)):
        raise SettingsError("\n".join(f"{name}: {line}" for line in lines))
    return params


def _at_odds(params: Params) -> Iterator[str]:
    """Yield a line for each setting that another section's does not allow."""
    images, masks = (Path(os.path.normpath(Path.cwd() / path)) for path in (params.data.path, params.data.masks))
    if images.is_relative_to(masks) or masks.is_relative_to(images):
        yield (
            f"data.masks: {params.data.masks} must not be, hold or lie in data.path ({params.data.path}), whose "
            f"folders are classes: move the masks beside it"
        )
    if params.train.head_epochs and not params.model.unfreeze:
        yield (
            f"train.head_epochs: {params.train.head_epochs} epochs of the head alone need layers that join later: "
            f"set model.unfreeze to 1 or more, or train.head_epochs to 0"
        )
    if params.model.unfreeze == "all":
        return  # nothing is cached
    policy, views = params.augment.policy, params.extract.views
    fewest, most = VIEWS_OF[policy]
    if views < fewest:
        yield (
            f"extract.views: {views} is the image as it is, and augment.policy {policy} draws the others: "
            f"set it to {fewest} or more, or augment.policy to none"
        )
    if views > most:
        yield (
            f"extract.views: {views} is more than augment.policy {policy} has: set it to {most}"
            f"{' or less' if most > 1 else ''}, or augment.policy to {'flips' if policy == 'none' else 'standard'}"
        )


def dotted(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return plain settings by the names that `dvc exp run -S` gives them, such as head.dropout."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        found |= dotted(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found


def dotted_text(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the same with values for the eye: null for none."""
    return {name: "null" if value is None else str(value) for name, value in dotted(content).items()}


def _line(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"])
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key (value {item['input']!r}); remove it or correct its spelling"
    if item["type"] == "missing":
        return f"{key}: missing key; add it, as in the params.yaml that the project came with"
    return f"{key}: {item['msg'][0].lower()}{item['msg'][1:]}, not {item['input']!r}"

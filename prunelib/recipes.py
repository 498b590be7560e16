"""Typed recipes, the only home of their defaults: how to fit one image, how to train a classifier."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from prunelib.options import Count, Fraction, Natural, NonNegative, Positive, Share

LABEL = r"^[a-z0-9][a-z0-9._-]*$"
Label = Annotated[str, Field(pattern=LABEL)]
Range = Annotated[list[Positive], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    """Base of every typed section: unknown keys and silent conversions are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class FitRecipe(Strict):
    """How to fit one image: Adam on the generator's weights, mean squared error to the noisy image.

    SGLD, as the OES authors run it, is input_noise 0.0333 and weight_noise 0.005 (half the learning rate).
    """

    loop: Literal["fit_image"]
    lr: Positive = 0.01
    steps: Natural = 1500
    log_every: Count = 50
    input_noise: NonNegative = 0.0  # standard deviation of what is added to z in each step
    weight_noise: NonNegative = 0.0  # ... and to the weights of convolutions after it
    average_from: Natural | None = None  # the step from which outputs are averaged; None: no average
    compact: bool = False  # train what a mask leaves alive as a smaller network: the same steps in less time

    @model_validator(mode="after")
    def _average_something(self) -> FitRecipe:
        if self.average_from is not None and self.average_from > self.steps:
            raise ValueError(f"average_from: got {self.average_from}; the fit ends at step {self.steps}")
        return self

    @model_validator(mode="after")
    def _same_noise(self) -> FitRecipe:
        if self.compact and self.weight_noise:
            raise ValueError("compact: a smaller network draws other weight_noise; set one of the two")
        return self


class Transform(Strict):
    """Random changes of every single picture before it is normalised: timm's transforms of ImageNet training.

    A window of ``scale`` of the area and an aspect ratio in ``ratio`` is resized to what the network sees, mirrored and
    changed in colour by ``jitter``, or by timm's policy ``auto`` in jitter's place; a rectangle of it is erased with
    probability ``erase`` (const: mean colour, pixel: noise).
    """

    scale: Range = [0.08, 1.0]
    ratio: Range = [0.75, 4 / 3]
    flip: Annotated[float, Field(ge=0, le=1)] = 0.5
    interpolation: Literal["bilinear", "bicubic", "random"] = "bicubic"
    jitter: NonNegative = 0.0
    auto: Annotated[str, Field(pattern=r"^(rand|augmix|original|originalr|v0|v0r|3a)(-[a-z]+[0-9.]*)*$")] | None = None
    erase: Share = 0.0
    erase_mode: Literal["const", "pixel"] = "const"

    @model_validator(mode="after")
    def _ordered(self) -> Transform:
        for name, (low, high) in {"scale": self.scale, "ratio": self.ratio}.items():
            if low > high or (name == "scale" and high > 1):
                raise ValueError(f"{name}: got [{low}, {high}]; it goes from the smaller to the larger one")
        return self


class Mix(Strict):
    """Mixing of pictures and labels within a forward pass: mixup (blends) and cutmix (pastes), as timm does them.

    ``mixup`` and ``cutmix`` are the parameters of a symmetric beta distribution, 0 switches one off; with both on,
    cutmix is chosen with probability ``switch``. mode batch draws once for all pictures of a pass.
    """

    mixup: NonNegative = 0.0
    cutmix: NonNegative = 0.0
    prob: Fraction = 1.0
    switch: Share = 0.5
    mode: Literal["batch", "pair", "elem"] = "batch"

    @model_validator(mode="after")
    def _something(self) -> Mix:
        if self.mixup == self.cutmix == 0:
            raise ValueError("mix: mixup and cutmix are both 0; set one or leave mix out")
        return self


class Distill(Strict):
    """Hard distillation: (1 - share) · CE(labels) + share · CE(the teacher's argmax), on two heads where there are two.

    ``teacher`` is a label of models. Its weights are those its builder brings or, with ``run``, those of the run of
    that method (budget full) on the same task and seed. Source: Touvron et al. 2021 (DeiT), section 4.
    """

    teacher: Label
    run: Label | None = None
    share: Fraction = 0.5


class ClassifyRecipe(Strict):
    """How to train a classifier: optimizer, learning rates, augmentation, averages, teachers, which epoch is tested.

    ``batch_size`` images make one step. With ``micro_batch`` they go through the network in parts of that many, whose
    gradients and norm statistics are averaged over the step; several processes share the parts out and get the same
    result, because nothing (mixing, dropout, norms) reaches beyond a part.
    """

    loop: Literal["classify"]
    optimizer: Literal["sgd", "adam", "adamw", "adadelta"] = "sgd"
    lr: Positive = 0.1
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: NonNegative = 5e-4
    decay: Literal["all", "matrices"] = "all"  # matrices: not norms, biases and what the network exempts
    clip_norm: Positive | None = None  # the norm that the gradient of a step is cut down to
    freeze: list[str] = []  # modules (with * and ?) whose weights and statistics stay as they are
    epochs: Natural = 20
    batch_size: Count = 128
    micro_batch: Count | None = None  # must divide batch_size
    schedule: Literal["constant", "cosine", "step"] = "cosine"
    warmup_epochs: Natural = 0
    step_epochs: Count = 30
    gamma: Fraction = 0.1
    min_lr: NonNegative = 0.0
    lr_per: Literal["epoch", "step"] = "epoch"  # how often the schedule is looked at
    label_smoothing: Share = 0.0
    augment: Literal["none", "flip", "shift", "crop-flip", "crop-flip-rotate", "crop-flip-rotate-cutout"] = "none"
    transform: Transform | None = None  # of every picture by itself, in place of augment
    repeats: Count = 1  # augmented copies of a picture in an epoch, which then shows that much fewer pictures
    mix: Mix | None = None
    distill: Distill | None = None
    ema: Share | None = None  # decay per step of a running mean of the weights, which is what is evaluated and kept
    evaluate: Literal["plain", "augmented"] = "plain"  # augmented: validation and test images are changed at random too
    select: Literal["last", "best"] = "last"
    init: Literal["dense_fan", "effective_fan"] = "dense_fan"  # effective_fan: initial weights · sqrt(size / kept)
    enforce: Literal["strict", "leaky"] = "strict"  # leaky: gradients are masked, pruned weights keep their values
    sparse: Literal["off", "auto"] = "off"  # auto: train the kept kernels alone, in each layer's faster form
    channels_last: bool = False  # how images and kernels lie in memory: faster on GPUs, other rounding
    amp: Literal["off", "bf16"] = "off"  # bf16: training passes in bfloat16, weights and evaluation in float32

    @model_validator(mode="after")
    def _strictly_sparse(self) -> ClassifyRecipe:
        if self.sparse != "off" and self.enforce == "leaky":
            raise ValueError(
                "sparse: leaky pruned weights keep their values, a sparse layer has none; set one of the two"
            )
        if self.sparse != "off" and (self.amp != "off" or self.channels_last):
            raise ValueError("sparse: sparse layers compute in float32, channels first; leave amp, channels_last out")
        return self

    @model_validator(mode="after")
    def _sense_in_fidelity(self) -> ClassifyRecipe:
        if self.enforce == "leaky" and self.init == "effective_fan":
            raise ValueError("init: a leaky network starts dense, so its fan is the dense one; set one of the two")
        if self.evaluate == "augmented" and self.augment == "none":
            raise ValueError("evaluate: got 'augmented', but augment says none; say how")
        return self

    @model_validator(mode="after")
    def _whole_parts(self) -> ClassifyRecipe:
        if self.micro_batch is not None and self.batch_size % self.micro_batch:
            raise ValueError(f"micro_batch: got {self.micro_batch}; it must divide batch_size, {self.batch_size}")
        return self

    @model_validator(mode="after")
    def _one_augmentation(self) -> ClassifyRecipe:
        if self.transform is not None and self.augment != "none":
            raise ValueError(f"transform: replaces augment, which says '{self.augment}'; set one of the two")
        if self.repeats > 1 and self.transform is None and self.augment == "none":
            raise ValueError(f"repeats: got {self.repeats}, but nothing changes the pictures; set transform or augment")
        return self


Recipe = Annotated[FitRecipe | ClassifyRecipe, Field(discriminator="loop")]


def useful_processes(recipe: Mapping[str, Any], most: int) -> int:
    """Return how many processes a training uses: one per part of a batch, at most ``most``; one without parts."""
    size = recipe.get("micro_batch")
    return min(most, recipe["batch_size"] // size) if size else 1

"""Defines the keys of a training recipe.

Where Hugging Face's `TrainingArguments`, PEFT's `LoraConfig` or Accelerate's `DeepSpeedPlugin` have a name for something, it is theirs.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from schemas.bounds import Name, Seed
from schemas.deepspeed import refused_keys, without_auto
from schemas.payloads import Payload, Stage

MethodName = Literal["full", "freeze", "expand", "lora", "qlora"]
Device = Literal["auto", "cuda", "cpu"]
AskedDtype = Literal["auto", "float32", "bfloat16", "float16"]
Offload = Literal["none", "cpu"]
BestMetric = Literal["eval_loss", "eval_sari"]
Tracker = Literal["tensorboard", "trackio"]
Origin = Literal["human", "noise", "teacher", "import"]


class TrainingSpec(Payload):
    """One fine-tuning run. Keys of a method other than the chosen one are read and left alone, so that a recipe can be tried with each."""

    name: Name
    base: str = Field(min_length=1, description="folder or hub id of the base model")
    dataset: str = Field(min_length=1)
    stage: Stage = Stage.SUMMARY
    learn_from: Literal["tweet", "clean"] = Field(
        default="tweet", description="what a summary is learnt from; clean: the tweet's clean text, as a chain's second model sees it"
    )

    pairs: int | None = Field(
        default=None, ge=1, description="learn from so many of the curated pairs alone; a smaller number's are among a larger's"
    )
    pairs_seed: Seed = Field(default=0, description="draws which ones these are")
    origins: tuple[Origin, ...] = Field(default=(), description="learn from examples of these origins alone; none named: from all")
    curve: str | None = Field(
        default=None, max_length=100, description="the learning curve that it is a point of: `tweetmill curve` sets it"
    )

    method: MethodName = Field(default="lora", description="what is trained: everything, some layers, new layers, or adapters")
    freeze_trainable_layers: int = Field(
        default=2, ge=-1000, le=1000, description="freeze: the last k layers and the final norm are trained; below 0 the first k"
    )
    expand_layers: int = Field(default=2, ge=1, le=1000, description="expand: new layers, spread over the depth, which alone are trained")
    lora_r: int = Field(default=16, ge=1, le=65_536)
    lora_alpha: int = Field(default=32, ge=1)
    lora_dropout: float = Field(default=0.0, ge=0, lt=1)
    lora_target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        default="all-linear", description="names of linear layers, such as q_proj; all-linear: all but the language-model head"
    )
    use_dora: bool = False
    use_rslora: bool = False

    device: Device = "auto"
    dtype: AskedDtype = Field(default="auto", description="of the weights; auto: what the machine computes fast")
    bf16: bool | None = Field(default=None, description="the same in Hugging Face's words: true is bfloat16, false float32")

    nodes: int = Field(default=1, ge=1, le=256, description="workers that train together")
    world_size: int = Field(default=1, ge=1, le=1024, description="ranks on all nodes together: one a GPU, or CPU processes")
    zero_stage: Literal[0, 1, 2, 3] = 2
    offload_optimizer: Offload = Field(default="none", description="cpu: moments and fp32 weights lie in the host's memory")
    offload_param: Offload = Field(default="none", description="cpu: at ZeRO-3, weights lie in the host's memory until they are needed")
    deepspeed: dict[str, Any] | None = Field(default=None, description="a DeepSpeed config of one's own; in a recipe: its JSON file")
    gradient_checkpointing: bool = Field(default=False, description="compute activations twice: less memory, more time")

    per_device_train_batch_size: int = Field(default=4, ge=1, le=1_000_000)
    gradient_accumulation_steps: int = Field(default=1, ge=1, le=1_000_000)
    learning_rate: float = Field(default=4e-4, gt=0)
    lr_scheduler_type: Literal["linear", "cosine", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    num_train_epochs: float = Field(default=1.0, gt=0, le=100_000)
    max_steps: int = Field(default=-1, ge=-1, description="-1: as many as the epochs need")
    max_length: int = Field(default=256, ge=16, le=10_000_000, description="tokens; longer examples are dropped and counted")
    packing: bool = Field(default=False, description="several examples a row, none of which sees another, instead of padding")
    human_repeats: int = Field(default=1, ge=1, le=20, description="times a curated pair is seen for each synthetic one")
    seed: Seed = 0

    eval_rows: int = Field(default=0, ge=0, le=100_000, description="training examples held back for evaluation during the run")
    eval_steps: int = Field(default=0, ge=0, description="steps between two evaluations of the loss; 0: none")
    eval_generate_steps: int = Field(default=0, ge=0, description="steps between two evaluations by written summaries; 0: none")
    load_best_model_at_end: bool = Field(default=False, description="keep the weights of the best evaluation, not the last ones")
    metric_for_best_model: BestMetric = "eval_loss"
    early_stopping_patience: int = Field(default=0, ge=0, description="evaluations in a row without a better one that end the run; 0: off")
    report_to: tuple[Tracker, ...] = Field(default=(), description="trackers of Accelerate that get the numbers too: tensorboard, trackio")
    logging_steps: int = Field(default=1, ge=1)
    save_steps: int = Field(default=50, ge=0, description="steps between two checkpoints; 0: only when asked to stop")
    stall_timeout: float = Field(default=900.0, gt=0, le=10_000_000, description="seconds without a new step before the ranks are stopped")

    @field_validator("freeze_trainable_layers")
    @classmethod
    def _trains_some_layer(cls, layers: int) -> int:
        if layers == 0:
            raise ValueError("0 would train no layer: give k for the last k layers, -k for the first k, or use method=full for all")
        return layers

    @model_validator(mode="after")
    def _cleans_what_is_not_clean(self) -> TrainingSpec:
        if self.learn_from == "clean" and self.stage is not Stage.SUMMARY:
            raise ValueError("learn_from: clean is for summaries: set stage to summary, or learn from the tweet")
        return self

    @model_validator(mode="after")
    def _names_one_dtype(self) -> TrainingSpec:
        if self.bf16 is not None and self.dtype not in ("auto", self.asked_dtype):
            raise ValueError(f"bf16 is {str(self.bf16).lower()} and dtype is {self.dtype}: leave one of them out")
        return self

    @field_validator("deepspeed")
    @classmethod
    def _leaves_the_recipe_its_keys(cls, config: dict[str, Any] | None) -> dict[str, Any] | None:
        if config is None:
            return None
        meant = without_auto(config)
        refused = list(refused_keys(meant))
        if refused:
            raise ValueError("; ".join(refused))
        return meant

    @model_validator(mode="after")
    def _offloads_what_its_stage_shards(self) -> TrainingSpec:
        if self.offload_param != "none" and self.zero_stage != 3:
            raise ValueError(f"offload_param needs zero_stage 3, which shards the weights, and zero_stage is {self.zero_stage}")
        if self.offload_optimizer != "none" and self.zero_stage == 0:
            raise ValueError("offload_optimizer needs zero_stage 1, 2 or 3: at 0 each rank keeps its optimizer")
        if self.method == "qlora" and self.zero_stage == 3:
            raise ValueError("zero_stage 3 can't shard the 4-bit weights of qlora: use zero_stage 2, or method lora")
        return self

    @model_validator(mode="after")
    def _has_a_dtype_of_its_device(self) -> TrainingSpec:
        if self.device == "cpu" and self.asked_dtype == "float16":
            raise ValueError("dtype float16 trains on GPUs alone: with device: cpu set dtype to auto, float32 or bfloat16")
        return self

    @model_validator(mode="after")
    def _shares_ranks_evenly(self) -> TrainingSpec:
        if self.world_size % self.nodes:
            raise ValueError(f"world_size counts the ranks on all nodes: {self.world_size} can't be shared evenly by {self.nodes} nodes")
        return self

    @field_validator("report_to", mode="before")
    @classmethod
    def _names_trackers(cls, value: object) -> object:
        # Hugging Face takes one name, and `none`, as well as a list.
        names = [value] if isinstance(value, str) else value
        return () if names in (["none"], ("none",)) else names

    @model_validator(mode="after")
    def _evaluates_what_it_watches(self) -> TrainingSpec:
        evaluates = [name for name in ("eval_steps", "eval_generate_steps") if getattr(self, name)]
        if evaluates and not self.eval_rows:
            raise ValueError(f"{evaluates[0]} needs eval_rows: how many training examples are held back to evaluate on")
        if self.eval_rows and not evaluates:
            raise ValueError("eval_rows holds examples back and nothing evaluates on them: set eval_steps, eval_generate_steps or both")
        measured_by = "eval_steps" if self.metric_for_best_model == "eval_loss" else "eval_generate_steps"
        for name in ("load_best_model_at_end", "early_stopping_patience"):
            if getattr(self, name) and not getattr(self, measured_by):
                metric = self.metric_for_best_model
                raise ValueError(f"{name} goes by {metric}, measured every {measured_by} steps: set {measured_by} and eval_rows")
        return self

    @property
    def ranks_per_node(self) -> int:
        """Processes that each node starts."""
        return self.world_size // self.nodes

    @property
    def global_batch(self) -> int:
        """Examples that one optimizer step learns from, over all ranks."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps * self.world_size

    @property
    def asked_dtype(self) -> AskedDtype:
        """What `dtype` and `bf16` ask for together."""
        if self.bf16 is None:
            return self.dtype
        return "bfloat16" if self.bf16 else "float32"


class GangMember(Payload):
    """One more worker that a training on several nodes needs; `node` 0 is the training job itself."""

    node: int = Field(ge=1)
    spec: TrainingSpec

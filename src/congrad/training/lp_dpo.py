"""LP-DPO (arXiv 2403.19159, eq. 9) on TRL's `DPOTrainer`, by a shift of the reference.

    m = beta [(log pi(y_w) - log ref(y_w)) - (log pi(y_l) - log ref(y_l))] + alpha (|y_w| - |y_l|)

is DPO's margin with log ref(y) - alpha / beta |y| in place of log ref(y), so the trainer's own losses compute it.
|y| is the number of response tokens whose log-probability the loss sums: after truncation, the end token included.
"""

from collections import defaultdict
from typing import Any

import torch
from trl import DPOTrainer


class LPDPOTrainer(DPOTrainer):  # type: ignore[misc]  # TRL has no type information
    """TRL's `DPOTrainer` with a length penalty, per-language metrics under their names, and no telemetry.

    Differs from TRL in its metrics only where alpha is not 0: `rewards/*` are then beta (log pi - log ref) + alpha |y|,
    which is the reward that this loss fits, so `rewards/accuracies` counts the sign of m.

    `length_penalty` is alpha; `congrad.settings.train.check_dpo_config` must have passed the configuration.
    """

    precompute_ref_logps: bool

    def __init__(self, *args: Any, length_penalty: float = 0.0, **options: Any) -> None:
        self.length_penalty = length_penalty
        self._evaluated = ""
        super().__init__(*args, **options)

    def _compute_loss(self, model: Any, inputs: dict[str, torch.Tensor], return_outputs: bool) -> Any:
        """TRL's loss, with the reference marked as precomputed: then it takes what is in the batch.

        The shift is made here and not where TRL precomputes, since what it precomputes goes into a cache on disk whose
        key does not know alpha.
        """
        if self.length_penalty == 0:
            return super()._compute_loss(model, inputs, return_outputs)
        if self.precompute_ref_logps:
            chosen_P, rejected_P = inputs["ref_chosen_logps"], inputs["ref_rejected_logps"]
        else:
            chosen_P, rejected_P = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
        # No token is predicted at the first position
        chosen_tokens_P, rejected_tokens_P = inputs["completion_mask"][:, 1:].sum(dim=1).chunk(2)
        per_token = self.length_penalty / self.beta
        shifted = {
            "ref_chosen_logps": chosen_P - per_token * chosen_tokens_P,
            "ref_rejected_logps": rejected_P - per_token * rejected_tokens_P,
        }
        precomputed, self.precompute_ref_logps = self.precompute_ref_logps, True
        try:
            return super()._compute_loss(model, {**inputs, **shifted}, return_outputs)
        finally:
            self.precompute_ref_logps = precomputed

    def evaluate(self, *args: Any, metric_key_prefix: str = "eval", **options: Any) -> Any:
        self._evaluated = metric_key_prefix.removeprefix("eval").removeprefix("_")
        return super().evaluate(*args, metric_key_prefix=metric_key_prefix, **options)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL names its metrics `eval_*` whatever the dataset; here they are `eval_de_*` as the loss is."""
        if self._evaluated and not self.model.training:
            metrics = {f"{self._evaluated}_{name}": values for name, values in self._metrics["eval"].items()}
            self._metrics["eval"] = defaultdict(list, metrics)
        super().log(logs, start_time)

    def _send_telemetry(self) -> None:
        """Nothing: TRL would send the hub what is trained on what."""

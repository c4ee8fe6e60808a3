"""What Optuna does for a stage: it draws values, and says which trainings are not worth their end.

Values come from a tree-structured Parzen estimator (Bergstra et al., NIPS 2011), trainings are stopped by asynchronous
successive halving (Li et al., MLSys 2020, https://arxiv.org/abs/1810.05934). Each trial draws with a seed of its own,
made of the search's seed, the stage and the trial's number. So a study that is told again what an earlier process tried
goes on as that one would have.
"""

import hashlib
from collections.abc import Mapping

import optuna
from optuna.trial import TrialState

from training.tune.record import Trial
from training.tune.space import Drawn, Stage

# After a ninth of the epochs, and after a third of them, the best third of the trainings goes on.
REDUCTION = 3
_RUNGS = 2

_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Study:
    """One stage's study, in memory."""

    def __init__(self, stage: Stage, seed: int, epochs: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._stage, self._seed = stage, seed
        first = -(-epochs // REDUCTION**_RUNGS)
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=REDUCTION)
        self._study = optuna.create_study(study_name=stage, direction="maximize", pruner=pruner)

    def ask(self, number: int, given: Mapping[str, Drawn]) -> optuna.Trial:
        """Begin a trial; what is given is not drawn."""
        digest = hashlib.blake2b(f"{self._seed}/{self._stage}/{number}".encode(), digest_size=4).digest()
        # One parameter at a time: another encoder has other parameters, and few trials have them all.
        self._study.sampler = optuna.samplers.TPESampler(seed=int.from_bytes(digest, "big"), multivariate=False)
        if given:
            self._study.enqueue_trial(dict(given))
        trial = self._study.ask()
        assert trial.number == number
        return trial

    @staticmethod
    def worth_its_end(asked: optuna.Trial, epoch: int, figure: float) -> bool:
        """Enter the best figure so far after an epoch, from 1; False where the trial is to be pruned."""
        asked.report(figure, epoch)
        return not asked.should_prune()

    def tell(self, asked: optuna.Trial, trial: Trial) -> None:
        """Enter how a trial ended."""
        figure = trial.figure if trial.state == "complete" else None
        self._study.tell(asked, figure, state=_STATES[trial.state])

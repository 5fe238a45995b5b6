"""How a training run ends before its time."""


class TrainingError(ValueError):
    """A run cannot start, go on or be resumed. One line: what happened at which step, and what to do."""


class TrainingDivergedError(ArithmeticError):
    """A measurement is not finite. One line: which, at which step, what is saved and what to do."""


class TrainingInterrupted(KeyboardInterrupt):
    """The run was asked to stop (Ctrl-C, SIGTERM), and has saved where it stands."""

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}, which is saved; go on with --resume")
        self.step = step

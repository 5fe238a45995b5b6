"""What is raised for every checkpoint that cannot be written, found or used."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, of another model or of another version. One line: which, why, what to do."""


class CheckpointDamagedError(CheckpointError):
    """A file of a checkpoint is missing or is not what was written; an older checkpoint of the run may be whole."""

"""The one error of this room."""


class DataError(ValueError):
    """A data file, a template table or a setting of the data room is wrong; the message is one line that says where."""

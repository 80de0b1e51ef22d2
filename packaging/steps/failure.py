"""The one kind of error that the set-up reports: a sentence with its remedy, and an exit code."""


class SetupFailed(Exception):
    """The set-up cannot go on; the text says what the user can do."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code

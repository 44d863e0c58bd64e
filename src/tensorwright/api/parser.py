"""What all parsers of models have: a logger, and the errors of what they parsed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tensorwright.api.enums import ErrorCode
from tensorwright.api.logger import SHARED_LOGGER, ILogger, Severity
from tensorwright.base.errors import ImportFailure, NetworkError


@dataclass(frozen=True)
class ParserError:
    """Why a model could not be parsed: the whole model, or one node of it."""

    error_code: ErrorCode
    description: str
    name: str = ""
    operator: str = ""

    def code(self) -> ErrorCode:
        return self.error_code

    def desc(self) -> str:
        return self.description

    def node_name(self) -> str:
        """The name of the node, empty if it is not about one node."""
        return self.name

    def node_operator(self) -> str:
        """The operator of the node, empty if it is not about one node."""
        return self.operator

    def __str__(self) -> str:
        return self.description


class Parser:
    """Keeps and logs what went wrong.

    logger: None for the logger that is shared.
    """

    item: ClassVar[str] = "node"
    """What messages call a part of a model."""

    def __init__(self, logger: ILogger | None = None) -> None:
        self.logger = SHARED_LOGGER.adopt(logger, type(self).__name__)
        self._errors: list[ParserError] = []

    @property
    def num_errors(self) -> int:
        return len(self._errors)

    def get_error(self, index: int) -> ParserError:
        return self._errors[index]

    def clear_errors(self) -> None:
        self._errors.clear()

    def fail(self, error: ImportFailure | NetworkError) -> None:
        """Keep an error, as one entry per node if it is about several, and log it."""
        self._errors += _unsupported(error) or [self._whole(error)]
        self.logger.log(Severity.ERROR, str(error))

    def _whole(self, error: ImportFailure | NetworkError) -> ParserError:
        is_about_one = f"{self.item} '" in str(error)
        code = ErrorCode.INVALID_NODE if is_about_one else ErrorCode.MODEL_DESERIALIZE_FAILED
        return ParserError(code, str(error))


def _unsupported(error: ImportFailure | NetworkError) -> list[ParserError]:
    from tensorwright.importers.failures import UnsupportedNodes

    if not isinstance(error, UnsupportedNodes):
        return []
    found = []
    for finding in error.findings:
        details = "".join(f", {heading} {text}" for heading, text in finding.details)
        place = f"{error.words.item} '{finding.node}' ({finding.operator}{details})"
        description = f"{place}: {finding.explain(error.words)}"
        found.append(ParserError(ErrorCode.UNSUPPORTED_NODE, description, finding.node, finding.operator))
    return found

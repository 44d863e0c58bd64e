from __future__ import annotations

import io

import pytest

import tensorwright as tw
from tensorwright.api.logger import SharedLogger


class Recorder(tw.ILogger):
    def __init__(self):
        self.messages = []

    def log(self, severity, msg):
        self.messages.append((severity, msg))


def test_severities_are_ordered_and_named_as_users_know_them():
    assert [s.name for s in sorted(tw.Severity)] == ["INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"]
    assert tw.Logger.WARNING is tw.Severity.WARNING
    assert tw.Logger.Severity.VERBOSE is tw.Severity.VERBOSE
    assert tw.ILogger.Severity is tw.Severity


def test_the_logger_prints_what_is_serious_enough():
    stream = io.StringIO()
    logger = tw.Logger(tw.Severity.WARNING, stream)
    for severity in tw.Severity:
        logger.log(severity, severity.name)
    lines = stream.getvalue().splitlines()
    assert [line.split(": ")[1] for line in lines] == ["INTERNAL_ERROR", "ERROR", "WARNING"]


def test_the_logger_prints_to_standard_error(capsys):
    tw.Logger().log(tw.Severity.ERROR, "something")
    printed = capsys.readouterr()
    assert "something" in printed.err
    assert printed.out == ""


def test_a_subclass_must_implement_log():
    with pytest.raises(NotImplementedError, match="Silent must implement log"):
        type("Silent", (tw.ILogger,), {})().log(tw.Severity.INFO, "x")


def test_the_first_logger_stays_in_use_and_both_hear_of_the_second():
    shared, first, second = SharedLogger(), Recorder(), Recorder()
    assert shared.adopt(first, "Builder") is first
    assert shared.adopt(first, "Runtime") is first
    assert shared.adopt(None, "OnnxParser") is first
    assert first.messages == []
    assert shared.adopt(second, "Runtime") is first
    for recorder in (first, second):
        ((severity, message),) = recorder.messages
        assert severity is tw.Severity.WARNING
        assert "Runtime was given a second logger" in message
        assert "stays in use" in message


def test_another_logger_may_come_when_nobody_uses_the_first_any_more():
    shared, second = SharedLogger(), Recorder()
    shared.adopt(Recorder(), "Builder")
    assert shared.adopt(second, "Builder") is second
    assert second.messages == []


def test_without_a_logger_warnings_are_printed(capsys):
    used = SharedLogger().adopt(None, "Builder")
    used.log(tw.Severity.WARNING, "heard")
    used.log(tw.Severity.INFO, "not heard")
    assert "heard" in (printed := capsys.readouterr().err)
    assert "not heard" not in printed


@pytest.mark.parametrize("user", [tw.Builder, tw.Runtime, lambda x: tw.OnnxParser(tw.NetworkDefinition(), x)])
def test_builder_runtime_and_parser_refuse_what_is_no_logger(user):
    with pytest.raises(tw.TensorwrightError, match=r"expected a logger, found str.*ILogger"):
        user("WARNING")


def test_builder_runtime_and_parser_share_one_logger():
    logger, other = Recorder(), Recorder()
    builder = tw.Builder(logger)
    runtime = tw.Runtime(other)
    assert runtime.logger is logger
    assert len(logger.messages) == len(other.messages) == 1
    assert tw.OnnxParser(builder.create_network(), logger).logger is logger
    assert len(logger.messages) == 1

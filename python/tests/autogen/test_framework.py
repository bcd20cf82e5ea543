"""The framework itself on both executors: agents and a tool, with a model whose replies are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autogen_agentchat.agents import AssistantAgent, CodeExecutorAgent
from autogen_agentchat.base import TaskResult
from autogen_agentchat.conditions import TextMentionTermination
from autogen_agentchat.messages import CodeExecutionEvent, TextMessage, ToolCallExecutionEvent
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_core import CancellationToken, FunctionCall
from autogen_core.models import CreateResult, ModelFamily, ModelInfo, RequestUsage
from autogen_ext.models.replay import ReplayChatCompletionClient
from autogen_ext.tools.code_execution import PythonCodeExecutionTool

from .conftest import Executors

MODEL = ModelInfo(
    vision=False,
    function_calling=True,
    json_output=False,
    family=ModelFamily.UNKNOWN,
    structured_output=False,
)
WRONG = "Let me see.\n```python\nraise SystemExit('no such luck')\n```\n"
RIGHT = "Again.\n```python\nprint(6 * 7)\n```\nand\n```sh\necho done > done; cat done\n```\n"


async def test_a_code_executor_agent_runs_what_another_agent_writes(executors: Executors, tmp_path: Path) -> None:
    model = ReplayChatCompletionClient([WRONG, RIGHT, "It is 42. TERMINATE"], model_info=MODEL)
    async with executors.running(work_dir=tmp_path) as executor:
        team = RoundRobinGroupChat(
            [AssistantAgent("coder", model), CodeExecutorAgent("runner", executor)],
            termination_condition=TextMentionTermination("TERMINATE", sources=["coder"]),
        )
        messages = (await team.run(task="What is 6 times 7?")).messages
    said = [message.content for message in messages if isinstance(message, TextMessage) and message.source == "runner"]
    assert len(said) == 2
    assert "POSIX exit code: 1" in said[0]
    assert "no such luck" in said[0]
    assert said[1].split() == ["42", "done"]
    assert (tmp_path / "done").exists()


async def test_a_code_executor_agent_with_a_model_tries_again(executors: Executors, tmp_path: Path) -> None:
    replies = [WRONG, '{"retry": true, "reason": "it failed"}', RIGHT, "It is 42."]
    info = ModelInfo(**{**MODEL, "structured_output": True})
    model = ReplayChatCompletionClient(replies, model_info=info)
    async with executors.running(work_dir=tmp_path) as executor:
        agent = CodeExecutorAgent("runner", executor, model_client=model, max_retries_on_error=1)
        messages = [message async for message in agent.run_stream(task="What is 6 times 7?")]
    events = [message for message in messages if isinstance(message, CodeExecutionEvent)]
    assert [event.result.exit_code for event in events] == [1, 0]
    assert events[1].result.output.split() == ["42", "done"]
    assert events[1].model_dump()["result"] == {"exit_code": 0, "output": events[1].result.output}
    final = messages[-1]
    assert isinstance(final, TaskResult)
    assert final.messages[-1].content == "It is 42."  # type: ignore[union-attr]


async def test_a_tool_runs_python(executors: Executors) -> None:
    call = FunctionCall(id="1", name="CodeExecutor", arguments='{"code": "print(6 * 7)"}')
    usage = RequestUsage(prompt_tokens=0, completion_tokens=0)
    asks: Any = CreateResult(finish_reason="function_calls", content=[call], usage=usage, cached=False)
    model = ReplayChatCompletionClient([asks, "It is 42."], model_info=MODEL)
    async with executors.running() as executor:
        tool = PythonCodeExecutionTool(executor)
        agent = AssistantAgent("coder", model, tools=[tool], reflect_on_tool_use=True)
        messages = (await agent.run(task="What is 6 times 7?")).messages
    (event,) = [message for message in messages if isinstance(message, ToolCallExecutionEvent)]
    assert [(result.content, result.is_error) for result in event.content] == [("42\n", False)]
    assert messages[-1].content == "It is 42."  # type: ignore[union-attr]


async def test_a_tool_tells_that_the_code_failed(executors: Executors) -> None:
    async with executors.running() as executor:
        tool = PythonCodeExecutionTool(executor)
        result = await tool.run_json({"code": "raise SystemExit('no such luck')"}, CancellationToken())
    assert (result.success, result.output) == (False, "no such luck\n")


def test_agents_and_tools_with_our_executors_are_dumped_and_loaded(tmp_path: Path) -> None:
    for kind in ("local", "docker"):
        executor = Executors("stockade", kind).make(work_dir=tmp_path)
        tool = PythonCodeExecutionTool.load_component(PythonCodeExecutionTool(executor).dump_component())
        agent = CodeExecutorAgent.load_component(CodeExecutorAgent("runner", executor).dump_component())
        for holder in (tool, agent):
            (held,) = [value for name, value in vars(holder).items() if name in ("_executor", "_code_executor")]
            assert held.dump_component() == executor.dump_component()

"""The graph: edges only. What a node does stands in nodes.py."""

from __future__ import annotations

from typing import Any, Literal

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from agent import nodes
from agent.state import TurnContext, TurnState

Graph = CompiledStateGraph[TurnState, TurnContext, TurnState, TurnState]


def build_graph(checkpointer: BaseCheckpointSaver[Any]) -> Graph:
    """Compile START → probe → match → reason → gate → act → match … → verdict → record → END."""
    graph = StateGraph(TurnState, context_schema=TurnContext)
    for node in (
        nodes.probe,
        nodes.match,
        nodes.reason,
        nodes.gate,
        nodes.act,
        nodes.rules,
        nodes.verdict,
        nodes.record,
    ):
        graph.add_node(node.__name__, node)
    graph.add_conditional_edges(START, _entry, ["probe", "reason"])
    graph.add_edge("probe", "match")
    graph.add_edge("match", "reason")  # and from there by Command: gate, rules or verdict
    # gate and act go on by Command: to each other while a person must be asked, then to match.
    graph.add_edge("verdict", "record")
    graph.add_edge("record", END)
    return graph.compile(checkpointer=checkpointer)


def _entry(state: TurnState) -> Literal["probe", "reason"]:
    return "probe" if state["kind"] == "diagnose" else "reason"

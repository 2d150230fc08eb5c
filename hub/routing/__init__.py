"""Routing: what routing.yaml says, and which routes take an event.

Begin with ``load.load_routing``, then ``router.Router``; ``reader.EventReader`` applies what a source declares.
"""

from hub.routing.check import CheckReport, Coverage, ExampleResult, check_rules
from hub.routing.conditions import Condition, ConditionError, Facts
from hub.routing.config import (
    DestinationConfig,
    ExampleConfig,
    RetryConfig,
    RouteConfig,
    RoutingConfig,
    ScheduleConfig,
)
from hub.routing.examples import event_of_example
from hub.routing.extract import CompiledPath, Extractor, Message, parse_time, scalar_text
from hub.routing.flow import CircuitConfig, ProviderConfig, RateConfig
from hub.routing.graph import mermaid
from hub.routing.load import LoadedRouting, load_routing, load_text
from hub.routing.names import Known
from hub.routing.patterns import PatternIndex, matches, type_problem
from hub.routing.reader import EventReader, IdExtractor
from hub.routing.router import CompiledRoute, RouteMatch, Router, RuleVerdict
from hub.routing.sameness import sameness_hash
from hub.routing.sources import AuthConfig, EventConfig, QueueConfig, Reply, ReplyConfig, SourceConfig, WebhookConfig

__all__ = [
    "AuthConfig",
    "CheckReport",
    "CircuitConfig",
    "CompiledPath",
    "CompiledRoute",
    "Condition",
    "ConditionError",
    "Coverage",
    "DestinationConfig",
    "EventConfig",
    "EventReader",
    "ExampleConfig",
    "ExampleResult",
    "Extractor",
    "Facts",
    "IdExtractor",
    "Known",
    "LoadedRouting",
    "Message",
    "PatternIndex",
    "ProviderConfig",
    "QueueConfig",
    "RateConfig",
    "Reply",
    "ReplyConfig",
    "RetryConfig",
    "RouteConfig",
    "RouteMatch",
    "Router",
    "RoutingConfig",
    "RuleVerdict",
    "ScheduleConfig",
    "SourceConfig",
    "WebhookConfig",
    "check_rules",
    "event_of_example",
    "load_routing",
    "load_text",
    "matches",
    "mermaid",
    "parse_time",
    "sameness_hash",
    "scalar_text",
    "type_problem",
]

"""The report: what was promised, what was measured, and what the release policy says about it."""

from pegai.report.content import Candidate, Content, build_content
from pegai.report.domain import domain_rows
from pegai.report.html import render_html, render_json, write_report
from pegai.report.policy import (
    CONTROLLED_1,
    CONTROLLED_2,
    DEFAULT_POLICY,
    POLICIES,
    PUBLIC_1,
    PUBLIC_2,
    ReleasePolicy,
)
from pegai.report.policy_file import find_policy, policy_toml, read_policy
from pegai.report.verdict import Gate, Verdict, decide

__all__ = [
    "CONTROLLED_1",
    "CONTROLLED_2",
    "DEFAULT_POLICY",
    "POLICIES",
    "PUBLIC_1",
    "PUBLIC_2",
    "Candidate",
    "Content",
    "Gate",
    "ReleasePolicy",
    "Verdict",
    "build_content",
    "decide",
    "domain_rows",
    "find_policy",
    "policy_toml",
    "read_policy",
    "render_html",
    "render_json",
    "write_report",
]

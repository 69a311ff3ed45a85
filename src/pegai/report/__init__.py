"""The report: what was promised, what was measured, and what the release policy says about it."""

from pegai.report.content import Candidate, Content, build_content
from pegai.report.html import render_html, render_json, write_report
from pegai.report.policy import CONTROLLED_1, POLICIES, PUBLIC_1, ReleasePolicy
from pegai.report.verdict import Gate, Verdict, decide

__all__ = [
    "CONTROLLED_1",
    "POLICIES",
    "PUBLIC_1",
    "Candidate",
    "Content",
    "Gate",
    "ReleasePolicy",
    "Verdict",
    "build_content",
    "decide",
    "render_html",
    "render_json",
    "write_report",
]

"""De-identification: find direct identifiers, drop or replace them, measure what anonymity is left.

The classes are those of the HIPAA Safe Harbor rule. Everything here runs inside the trusted zone,
before the data are split and before any privacy budget is spent.
"""

from pegai.data.deidentify.actions import deidentify
from pegai.data.deidentify.anonymity import (
    Anonymity,
    BeforeAfter,
    Diversity,
    anonymity,
    before_after,
)
from pegai.data.deidentify.config import Action, Deidentified, DeidentifyConfig, Override
from pegai.data.deidentify.detect import Detection, detect, free_text_columns
from pegai.data.deidentify.identifiers import IdentifierClass
from pegai.data.deidentify.safe_harbor import DISCLAIMER, OpenClass, lint

__all__ = [
    "DISCLAIMER",
    "Action",
    "Anonymity",
    "BeforeAfter",
    "Deidentified",
    "DeidentifyConfig",
    "Detection",
    "Diversity",
    "IdentifierClass",
    "OpenClass",
    "Override",
    "anonymity",
    "before_after",
    "deidentify",
    "detect",
    "free_text_columns",
    "lint",
]

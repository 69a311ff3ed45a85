"""The 18 identifier classes of the HIPAA Safe Harbor rule, 45 CFR 164.514(b)(2)(i)(A) to (R)."""

from __future__ import annotations

from enum import StrEnum


class IdentifierClass(StrEnum):
    """One of the 18 classes; the value is its short name in files and tables.

    Attributes:
        letter: Its letter in 45 CFR 164.514(b)(2)(i).
        title: A name for people.

    Example:
        >>> IdentifierClass("zip-or-place").letter
        'B'
    """

    letter: str
    title: str

    def __new__(cls, value: str, letter: str, title: str) -> IdentifierClass:
        """A member that is its short name, with the letter and a title."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.letter = letter
        member.title = title
        return member

    NAME = ("name", "A", "names")
    GEOGRAPHY = ("zip-or-place", "B", "places smaller than a state")
    DATE = ("date", "C", "dates finer than a year, ages over 89")
    PHONE = ("phone", "D", "telephone numbers")
    FAX = ("fax", "E", "fax numbers")
    EMAIL = ("email", "F", "e-mail addresses")
    NATIONAL_ID = ("national-id", "G", "social security and other national numbers")
    MEDICAL_RECORD = ("medical-record", "H", "medical record numbers")
    HEALTH_PLAN = ("health-plan", "I", "health plan beneficiary numbers")
    ACCOUNT = ("account", "J", "account numbers")
    LICENCE = ("licence", "K", "certificate and licence numbers")
    VEHICLE = ("vehicle", "L", "vehicle identifiers and licence plates")
    DEVICE = ("device", "M", "device identifiers and serial numbers")
    URL = ("url", "N", "web addresses")
    IP = ("ip", "O", "IP addresses")
    BIOMETRIC = ("biometric", "P", "biometric identifiers")
    PHOTO = ("photo", "Q", "full-face photographs and comparable images")
    UNIQUE_CODE = ("unique-code", "R", "any other unique number, characteristic or code")

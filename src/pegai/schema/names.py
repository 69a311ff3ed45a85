"""What the name of a column suggests about its role.

In English, German, French, Spanish, Italian, Portuguese and Dutch. A suggestion for a draft that a
person reads, not a decision: finding identifiers by content is the work of `pegai.data.deidentify`.
Words that mean something else in medicine are left out: `cell`, `cap`, `std`, `ip`, `pt` alone.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Hint = Literal["patient", "identifier", "weak-identifier", "quasi-identifier", "sensitive", "site"]


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Alone, or beside one of _ID, these name the column that says whose row it is.
_PATIENT = _set(
    """patient patients patienten paciente pacientes patiente paziente subject subjid person
    personne participant proband subjectid patientid personid pid patid mrn patientnr patientennr
    patnr"""
)
_PATIENT_SHORT = _set("pt pat subj")
_ID = _set("id ids nr no num number numero nummer code key identifier pseudonym uid")

_IDENTIFIER = _set(
    """mrn uuid guid ssn nhs nino passport passeport pasaporte dni nie curp cpf bsn kvnr nir secu
    iban surname forename firstname lastname fullname familyname givenname maidenname nom prenom
    nombre apellido apellidos vorname nachname familienname cognome sobrenome naam achternaam email
    mail correo phone telephone telefon telefono telefone telefoon tel mobile handy cellphone fax
    address adresse direccion indirizzo endereco adres street strasse calle rue straat account
    konto licence license fuhrerschein plate kennzeichen vin url website ipaddress photo foto
    picture fingerprint signature versichertennummer krankenversicherungsnummer fallnummer"""
)
_WEAK = _set("id ids uid identifier name names serial accession barcode")
# `name` and `id` beside one of these are those of a thing, not of a person.
_THINGS = _set(
    """drug med medication medicine test lab item product procedure diagnosis disease hospital site
    ward department unit clinic center centre category class group variable"""
)
_QUASI = _set(
    """age alter edad eta idade leeftijd sex gender geschlecht sexo sexe sesso geslacht zip zipcode
    postcode postal postleitzahl plz cep race ethnicity ethnic ethnie etnia nationality
    nationalitat nationalite country land pays pais paese region county kreis city stadt ville
    ciudad citta town village municipality gemeinde commune birth birthdate birthday dob birthyear
    geburtsdatum geburtsjahr geburt naissance nacimiento nascimento nascita geboorte marital
    familienstand education bildung occupation profession beruf job language sprache langue
    idioma"""
)
_SENSITIVE = _set(
    """diagnosis diagnoses diagnose diagnosen diagnostic diagnostico diagnosi diag dx icd icd9 icd10
    disease krankheit maladie enfermedad malattia hiv aids vih hepatitis syphilis sti psychiatric
    psychiatry mental depression schizophrenia suicide cancer krebs tumor tumour alcohol alkohol
    abuse addiction pregnant pregnancy schwanger abortion genetic genotype mutation religion
    confession sexual orientation disability"""
)
_SITE = _set(
    """site hospital centre center clinic klinik klinikum krankenhaus hopital clinique spital
    ospedale hospitalid siteid centerid centreid centro ziekenhuis facility institution standort
    zentrum"""
)
_AGE = _set("age alter edad eta idade leeftijd")


def words(name: str) -> list[str]:
    """The words of a column's name in lower case without accents.

    Example:
        >>> words("PatientID"), words("Âge_à_l'entrée")
        (['patient', 'id'], ['age', 'a', 'l', 'entree'])
    """
    plain = unicodedata.normalize("NFKD", name)
    plain = "".join(c for c in plain if not unicodedata.combining(c)).replace("ß", "ss")
    split = re.sub(r"([a-z0-9])(?=[A-Z])|([A-Z])(?=[A-Z][a-z])", r"\1\2 ", plain)
    return re.findall(r"[a-z0-9]+", split.lower())


def name_hint(name: str) -> Hint | None:
    """What a name suggests, the strongest first; None where it says nothing."""
    parts = words(name)
    found = {*parts, "".join(parts)}
    counted = "of" in found  # `number of patients` is a count
    beside_id = found & _ID and found & (_PATIENT | _PATIENT_SHORT)
    if not counted and (beside_id or (len(parts) == 1 and found & _PATIENT)):
        return "patient"
    if found & _IDENTIFIER:
        return "identifier"
    if found & _SITE and set(parts) <= _SITE | _ID | {"name", "names"}:
        return "site"  # but not `hospital_expire_flag`
    if found & _WEAK and not found & _THINGS:
        return "weak-identifier"
    if found & _SENSITIVE:
        return "sensitive"
    return "quasi-identifier" if found & _QUASI else None


def is_age(name: str) -> bool:
    """Whether a column holds ages, which stay numbers however few they are."""
    return bool(_AGE & set(words(name)))

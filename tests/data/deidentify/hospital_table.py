"""A made-up hospital table with every one of the 18 identifier classes, and clinical columns."""

import numpy as np
import polars as pl
from faker import Faker

EXPECTED = {
    "patient_id": "medical-record",
    "FullName": "name",
    "street_address": "zip-or-place",
    "zip": "zip-or-place",
    "city": "zip-or-place",
    "birth_date": "date",
    "admitted": "date",
    "discharged": "date",
    "age": "date",
    "phone": "phone",
    "fax": "fax",
    "e-mail": "email",
    "ssn": "national-id",
    "nhs_number": "national-id",
    "mrn": "medical-record",
    "health plan no": "health-plan",
    "iban": "account",
    "driver_license": "licence",
    "license_plate": "vehicle",
    "vin": "vehicle",
    "device_serial": "device",
    "homepage": "url",
    "last_ip": "ip",
    "fingerprint": "biometric",
    "photo": "photo",
    "study_uuid": "unique-code",
}
CLINICAL = (
    *("sex", "chol", "oldpeak", "icd10", "loinc", "atc", "systolic", "bp", "bmi", "diagnosis"),
    *("length_of_stay", "smoker", "phone_type", "ward", "platelets", "triglycerides", "race"),
    *("email_consent", "dose", "egfr", "nhs_stage", "month", "year", "drug_name", "duration"),
)


def nhs_number(rng):
    while True:
        digits = [int(d) for d in rng.integers(0, 10, 9)]
        check = 11 - sum(d * (10 - i) for i, d in enumerate(digits)) % 11
        if check != 10:
            return "".join(map(str, [*digits, 0 if check == 11 else check]))


def hospital(rows=200, seed=7, *, per_patient=1):
    """The table as text; `per_patient` rows share patient_id, name, birth and so on."""
    rng = np.random.default_rng(seed)
    fake = Faker("en_US")
    fake.seed_instance(seed)
    patients = -(-rows // per_patient)
    who = np.repeat(np.arange(patients), per_patient)[:rows]

    def person(draw):
        values = [draw() for _ in range(patients)]
        return [values[i] for i in who]

    def each(draw):
        return [draw() for _ in range(rows)]

    def one_of(*values):
        return [str(v) for v in rng.choice(values, rows)]

    days = np.datetime64("2021-01-01") + rng.integers(0, 900, rows)
    stay = rng.integers(1, 30, rows)
    ages = rng.integers(18, 99, patients)
    born = np.datetime64("2022-06-30") - (ages * 365.25).astype(int)
    codes = rng.choice(90_000_000, patients, replace=False) + 10_000_000
    return pl.DataFrame(
        {
            "patient_id": [f"P{codes[i]}" for i in who],
            "FullName": person(fake.name),
            "street_address": person(fake.street_address),
            "zip": person(fake.postcode),
            "city": person(fake.city),
            "birth_date": [str(born[i]) for i in who],
            "admitted": [f"{d} 08:15:00" for d in days],
            "discharged": [f"{d} 17:40:30" for d in days + stay],
            "age": [str(ages[i]) for i in who],
            "phone": person(fake.phone_number),
            "fax": person(fake.basic_phone_number),
            "e-mail": person(fake.email),
            "ssn": person(fake.ssn),
            "nhs_number": person(lambda: nhs_number(rng)),
            "mrn": person(lambda: f"MR-{fake.unique.random_number(8, fix_len=True)}"),
            "health plan no": person(lambda: fake.bothify("???#########").upper()),
            "iban": person(fake.iban),
            "driver_license": person(lambda: fake.bothify("?########").upper()),
            "license_plate": person(fake.license_plate),
            "vin": person(fake.vin),
            "device_serial": person(lambda: fake.bothify("SN-####-????").upper()),
            "homepage": person(fake.url),
            "last_ip": each(fake.ipv4),
            "fingerprint": person(fake.sha1),
            "photo": person(lambda: f"{fake.user_name()}.jpg"),
            "study_uuid": each(fake.uuid4),
            "sex": one_of("male", "female"),
            "chol": [str(v) for v in rng.normal(230, 40, rows).astype(int)],
            "oldpeak": [f"{v:.1f}" for v in rng.normal(1, 1, rows)],
            "icd10": one_of("I10", "E11.9", "J45.901", "C50.911", "I25.10", "N18.3", "F32.1"),
            "loinc": one_of("718-7", "2345-7", "4548-4", "33914-3"),
            "atc": one_of("C09AA05", "A10BA02", "N02BE01", "C07AB02"),
            "systolic": [str(v) for v in rng.normal(130, 20, rows).astype(int)],
            "bp": [f"{v}/{v - 40}" for v in rng.normal(130, 20, rows).astype(int)],
            "bmi": [f"{v:.7f}" for v in rng.normal(27, 4, rows)],
            "diagnosis": one_of("Parkinson", "Crohn", "Hodgkin", "Graves", "Wilson", "Addison"),
            "length_of_stay": [str(v) for v in stay],
            "smoker": one_of("yes", "no"),
            "phone_type": one_of("mobile", "home"),
            "ward": one_of("A1", "B2", "ICU"),
            "platelets": [str(v * 1000) for v in rng.integers(100, 450, rows)],
            "triglycerides": [f"{v:.2f}" for v in rng.lognormal(5, 0.4, rows)],
            "race": one_of("White", "Black", "Asian", "Other"),
            "email_consent": one_of("0", "1"),
            "dose": one_of("1200 MG", "50 MG", "5 ML"),
            "egfr": [str(v) for v in rng.normal(80, 20, rows)],
            "nhs_stage": one_of("1", "2", "3"),
            "month": [str(v) for v in rng.integers(1, 13, rows)],
            "year": [str(v) for v in rng.integers(2019, 2024, rows)],
            "drug_name": one_of("Metformin", "Aspirin", "Ramipril", "Atorvastatin"),
            "duration": [f"{h:02d}:{m:02d}" for h, m in zip(stay, stay, strict=True)],
        }
    )

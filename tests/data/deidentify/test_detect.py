import io
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pegai.data.datasets import heart_disease_path, heart_disease_schema
from pegai.data.deidentify import IdentifierClass, detect, free_text_columns
from pegai.data.deidentify.check_digits import CHECKED, match_check_digits
from pegai.data.deidentify.names import class_by_name, is_age, words
from pegai.data.deidentify.profile import profile
from pegai.schema import schema_from_dict

from .hospital_table import CLINICAL, EXPECTED, hospital

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


def check_of(series):
    return match_check_digits([profile(series)]).get(series.name)


def found(frame, schema=None):
    return {d.column: d for d in detect(frame, schema)}


def test_there_are_18_classes_with_the_letters_of_the_rule():
    assert [kind.letter for kind in IdentifierClass] == list("ABCDEFGHIJKLMNOPQR")
    assert set(EXPECTED.values()) == {str(kind) for kind in IdentifierClass}


@pytest.mark.parametrize("rows", [30, 300])
def test_every_class_is_found_and_nothing_clinical(rows):
    detections = found(hospital(rows, seed=rows))
    assert {name: str(d.identifier_class) for name, d in detections.items()} == EXPECTED
    assert not set(CLINICAL) & set(detections)


def test_one_row_is_enough_where_names_speak():
    detections = found(hospital(1))
    assert set(EXPECTED) - {"age"} <= set(detections)
    assert not set(CLINICAL) & set(detections)


@pytest.mark.parametrize("rows", [30, 300])
def test_values_speak_where_names_do_not(rows):
    frame = hospital(rows)
    hidden = {f"v{i}": name for i, name in enumerate(frame.columns)}
    detections = found(frame.rename({name: key for key, name in hidden.items()}))
    named = {hidden[key] for key in detections}
    # Town, plate and age have no form of their own: only a name tells them.
    assert set(EXPECTED) - named == {"city", "license_plate", "age"}
    assert not set(CLINICAL) & named
    by_value = {hidden[key]: str(d.identifier_class) for key, d in detections.items()}
    for name in ("FullName", "birth_date", "phone", "e-mail", "ssn", "nhs_number", "iban", "vin"):
        assert by_value[name] == EXPECTED[name], name


def test_evidence_and_counts():
    frame = hospital(40)
    gone = pl.when(pl.int_range(40) < 10).then(None).otherwise(pl.col("e-mail"))
    detections = found(frame.with_columns(gone.alias("e-mail")))
    assert detections["e-mail"].evidence == ("name", "pattern")
    assert (detections["e-mail"].rows, detections["e-mail"].matched_share) == (30, 1.0)
    assert detections["nhs_number"].evidence == ("name", "check digit")
    assert detections["FullName"].evidence == ("name", "dictionary")


def test_heart_table_has_no_identifier():
    frame = pl.read_csv(heart_disease_path(), infer_schema=False)
    assert detect(frame) == []
    assert detect(frame, heart_disease_schema(target="num")) == []
    assert free_text_columns(frame) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("support2/support2.csv", {"sno", "age"}),
        ("pbc2_longitudinal/pbc2.csv", {"sno.", "id"}),
        ("mimic3_demo/DIAGNOSES_ICD.csv.gz", {"row_id", "subject_id", "hadm_id"}),
        (
            "mimic3_demo/PATIENTS.csv.gz",
            {"row_id", "subject_id", "dob", "dod", "dod_hosp", "dod_ssn"},
        ),
        (
            "mimic3_demo/PRESCRIPTIONS.csv.gz",
            {"row_id", "subject_id", "hadm_id", "icustay_id", "startdate", "enddate"},
        ),
    ],
)
def test_real_clinical_tables(path, expected):
    if not (SHARED / path).exists():
        pytest.skip("the shared data are not beside the repository")
    frame = pl.read_csv(SHARED / path, infer_schema=False)
    assert set(found(frame)) == expected
    assert free_text_columns(frame, known=frozenset(expected)) == []


def test_synthea_patients():
    archive = SHARED / "synthea_sample" / "csv.tar.gz"
    if not archive.exists():
        pytest.skip("the shared data are not beside the repository")
    import tarfile

    with tarfile.open(archive) as tar:
        member = next(m for m in tar.getmembers() if m.name.endswith("/patients.csv"))
        frame = pl.read_csv(io.BytesIO(tar.extractfile(member).read()), infer_schema=False)
    clinical = {"MARITAL", "RACE", "ETHNICITY", "GENDER", "INCOME", "STATE", "FIPS", "MIDDLE"}
    money = {"HEALTHCARE_EXPENSES", "HEALTHCARE_COVERAGE"}
    assert set(frame.columns) - set(found(frame)) <= clinical | money


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("Nachname", "name"), ("prénom", "name"), ("apellidos", "name"), ("cognome", "name")),
        *(("achternaam", "name"), ("sobrenome", "name"), ("patientFirstName", "name")),
        *(
            ("Straße", "zip-or-place"),
            ("code_postal", "zip-or-place"),
            ("woonplaats", "zip-or-place"),
        ),
        *(("PLZ", "zip-or-place"), ("indirizzo", "zip-or-place"), ("endereço", "zip-or-place")),
        *(("Geburtsdatum", "date"), ("fecha_nacimiento", "date"), ("data di nascita", "date")),
        *(("Telefonnummer", "phone"), ("téléphone", "phone"), ("telemóvel", "phone")),
        *(("Telefax", "fax"), ("FaxNumber", "fax"), ("home_phone2", "phone")),
        *(("courriel", "email"), ("E-Mail", "email"), ("Mailadresse", "email")),
        *(("Versichertennummer", "health-plan"), ("Medicare ID", "health-plan")),
        *(("numéro de sécurité sociale", "national-id"), ("codice_fiscale", "national-id")),
        *(("BSN", "national-id"), ("NHSNumber", "national-id"), ("CPF", "national-id")),
        *(("Patientennummer", "medical-record"), ("historia clínica", "medical-record")),
        *(("subject_id", "medical-record"), ("HADM_ID", "medical-record")),
        *(("Kontonummer", "account"), ("credit card", "account"), ("IBAN", "account")),
        *(("Führerscheinnummer", "licence"), ("npi", "licence"), ("Passport_No", "licence")),
        *(("Kennzeichen", "vehicle"), ("kenteken", "vehicle"), ("targa", "vehicle")),
        *(("Seriennummer", "device"), ("MAC Address", "device"), ("udi", "device")),
        *(("IP-Adresse", "ip"), ("ipAddr", "ip"), ("website", "url")),
        *(("Fingerabdruck", "biometric"), ("huella_dactilar", "biometric")),
        *(("Lichtbild", "photo"), ("portrait", "photo"), ("record_id", "unique-code")),
    ],
)
def test_names_in_seven_languages(name, kind):
    assert class_by_name(name) == kind


@pytest.mark.parametrize(
    "name",
    [
        *("age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "oldpeak", "slope"),
        *("cell_count", "white cells", "phone_type", "has_email", "drug_name", "test name"),
        *("hospital_name", "state", "country", "capacity", "valid", "idh1_mutation", "fluid"),
        *("platelet_count", "cns_involvement", "avs", "plaque_index", "identity_score", "lipid"),
        *("medication_id", "diagnosis_code", "emailed_consent", "address_type", "death_event"),
        *("", "___", "...", "42", "hiv", "dnr", "ssri", "mobility", "placebo", "strip_test"),
    ],
)
def test_clinical_names_say_nothing(name):
    assert class_by_name(name) is None


def test_words_and_age():
    assert words("PatientDOB") == ["patient", "dob"]
    assert words("Größe (cm)") == ["grosse", "cm"]
    assert is_age("Alter")
    assert is_age("age_at_admission")
    assert not is_age("gestational_age_weeks")
    assert not is_age("stage")
    assert not is_age("dosage")


def test_running_numbers_and_long_numbers():
    rng = np.random.default_rng(0)
    n = 300
    frame = pl.DataFrame(
        {
            "x": [str(i) for i in range(1, n + 1)],
            "y": [str(i) for i in rng.permutation(n) + 5000],
            "z": [str(i) for i in rng.choice(9 * 10**6, n, replace=False) + 10**6],
            "padded": [f"{i:06d}" for i in rng.choice(10**6, n, replace=False)],
            "float_of_pandas": [f"{i}.0" for i in rng.choice(10**7, n, replace=False) + 10**7],
            "cholesterol": [str(i) for i in rng.normal(230, 60, n).astype(int)],
            "platelets": [str(i * 100) for i in rng.choice(4500, n, replace=False) + 500],
            "lactate": [f"{v:.6f}" for v in rng.random(n)],
            "days": [str(i) for i in rng.integers(0, 5000, n)],
            "bmi_id": [str(i) for i in rng.integers(0, 4, n)],
        }
    )
    assert set(found(frame)) == {"x", "y", "z", "padded", "float_of_pandas"}


def test_codes_of_vocabularies_are_not_identifiers():
    rng = np.random.default_rng(1)
    n = 60
    frame = pl.DataFrame(
        {
            "a": [
                f"{c}{i:02d}.{j}"
                for c, i, j in zip("ABCDEFGHIJ" * 6, range(n), rng.integers(0, 9, n), strict=True)
            ],
            "b": [
                f"C{i:02d}AA{j:02d}" for i, j in zip(range(n), rng.integers(1, 60, n), strict=True)
            ],
            "c": [f"{i}-{i % 10}" for i in rng.choice(60_000, n, replace=False) + 100],
            "d": [f"rs{i}" for i in rng.choice(10**7, n, replace=False)],
            "icd9": [f"{i:05d}" for i in rng.choice(99_999, n, replace=False)],
            "snomed": [str(i) for i in rng.choice(10**8, n, replace=False) + 10**8],
            "e": [f"0002-{i:04d}-80" for i in rng.choice(9999, n, replace=False)],
        }
    )
    assert found(frame) == {}


def test_check_digits_reject_random_numbers():
    # 26 kinds, 40 columns of random numbers of their lengths. A column passes by chance with
    # probability below 1e-6 each, so a false alarm of this test has probability below 1e-3 * 1e-1.
    rng = np.random.default_rng(3)
    for digits in (8, 9, 10, 11, 12, 13, 15, 16):
        for _ in range(5):
            values = rng.integers(10 ** (digits - 1), 10**digits, 200)
            assert check_of(pl.Series("v", [str(v) for v in values])) is None


def test_check_digits_need_enough_values():
    frame = hospital(200)
    numbers = frame["nhs_number"]
    hit = check_of(numbers)
    assert hit is not None
    assert hit.number.name == "NHS number"
    assert check_of(numbers.head(4)) is None
    half = pl.Series("v", [n if i % 2 else n[:-1] + "5" for i, n in enumerate(numbers)])
    assert check_of(half) is None


@pytest.mark.parametrize(
    ("locale", "draw", "name"),
    [
        ("nl_NL", "ssn", "Dutch BSN"),
        ("it_IT", "ssn", "Italian fiscal code"),
        ("fr_FR", "ssn", "French social security number"),
        ("es_ES", "nif", "Spanish DNI"),
        ("pt_BR", "cpf", "Brazilian CPF"),
        ("pl_PL", "pesel", "Polish PESEL"),
        ("fi_FI", "ssn", "Finnish personal code"),
        ("en_US", "credit_card_number", "payment card"),
    ],
)
def test_check_digits_of_faker(locale, draw, name):
    from faker import Faker

    fake = Faker(locale)
    fake.seed_instance(11)
    values = [getattr(fake, draw)() for _ in range(80)]
    if draw == "credit_card_number":
        values = [fake.credit_card_number("visa16") for _ in range(80)]
    hit = check_of(pl.Series("v", values))
    assert hit is not None
    assert hit.number.name == name


def test_every_checked_number_has_its_module():
    from pegai.data.deidentify.check_digits import _checker

    for number in CHECKED:
        assert isinstance(_checker(number.module)("0" * 17), bool), number.name


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["+49 30 901820", "030/901820-0", "0171 2345678"], "phone"),
        (["01 23 45 67 89", "06 12 34 56 78"], "phone"),
        (["(617) 555-0101 x22", "617.555.0199", "+1-617-555-0123"], "phone"),
        (["2001:db8::1", "fe80::1ff:fe23:4567:890a"], "ip"),
        (["00:1B:44:11:3A:B7", "00-1b-44-11-3a-b8"], "device"),
        (["1.2.276.0.7230010.3.1.4.8323329.6904", "1.3.6.1.4.1.14519.5.2.1.7"], "unique-code"),
        (["SW1A 1AA", "M1 1AE", "EC1A 1BB"], "zip-or-place"),
        (["02139-4307", "10001-0001"], "zip-or-place"),
        (["Hauptstraße 12", "Am Weg 3a", "Schillerplatz 4"], "zip-or-place"),
        (["12 rue de la Paix", "3, avenue Foch"], "zip-or-place"),
        (["C:/img/p17.JPG", "p18.png"], "photo"),
        (["www.example.org/p", "https://x.org/?id=3"], "url"),
        (["Smith, John", "Miller, Anna"], "name"),
        (["Dr. Hans Müller", "Fr. Anna Schmidt"], "name"),
        (["1EG4-TE5-MK73", "2AC3-CD4-EF56"], "health-plan"),
        (["12 janvier 2020", "3 mars 2021"], "date"),
        (["2020-05", "2021-12"], "date"),
        (["20200131", "19991231"], "date"),
        (["1/31/99", "12/2/01"], "date"),
    ],
)
def test_patterns(values, kind):
    assert [str(d.identifier_class) for d in detect(pl.DataFrame({"v": values}))] == [kind]


@pytest.mark.parametrize(
    "values",
    [
        ["120/80", "135/90", "110/70"],
        ["1.23", "0.12", "-4.50"],
        ["2345-7", "718-7", "100000-1"],
        ["10:20", "23:59:59", "08:00"],
        ["2019-2020", "2020-2021"],
        ["pT2 N0 M0", "pT1c N1 M0"],
        ["A+", "0-", "AB+"],
        ["p.Arg175His", "c.524G>A"],
        ["<0.01", "> 90", "12-15"],
        ["5 mg", "10 mg twice", "100 Unit/mL Vial"],
        ["1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.7"],
        ["I10", "E11.9", "J45.901"],
        ["stage II", "stage IV"],
        ["0002-1433-80", "50242-040-62"],
    ],
)
def test_clinical_forms_are_no_patterns(values):
    assert detect(pl.DataFrame({"v": values})) == []


def test_one_address_among_measures_is_seen():
    values = [str(v) for v in range(100, 199)] + ["see anna.b@example.org"]
    (detection,) = detect(pl.DataFrame({"chol": values * 1}))
    assert (detection.identifier_class, detection.rows) == ("email", 1)
    assert detection.matched_share == pytest.approx(0.01)


def test_names_that_values_contradict():
    frame = pl.DataFrame(
        {
            "email": ["yes", "no"] * 20,
            "mother": ["0", "1"] * 20,
            "father": [f"{60 + i / 10:.1f}" for i in range(40)],
            "date": [str(i) for i in range(-20, 20)],
            "site_id": ["1", "2", "3", "4"] * 10,
            "mobile": ["y", "n"] * 20,
            "latitude": ["high", "low"] * 20,
            "last": ["1.5", "2.5"] * 20,
        }
    )
    assert found(frame) == {}


def test_serial_dates_of_spreadsheets_are_dates_by_name():
    frame = pl.DataFrame({"birth_date": ["20815", "31022"], "days": ["20815", "31022"]})
    assert set(found(frame)) == {"birth_date"}


def test_linked_columns():
    rng = np.random.default_rng(5)
    ids = [f"Q{i}" for i in rng.choice(10**6, 60, replace=False) + 10**6]
    mothers = [None] * 50 + ids[:10]
    detections = found(pl.DataFrame({"patient_id": ids, "born_by": mothers}))
    assert detections["born_by"].evidence == ("linked",)
    assert detections["born_by"].identifier_class == "medical-record"


def test_schema_decides():
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "k", "type": "string", "pegai": {"role": "identifier"}},
                {"name": "who", "type": "string"},
                {"name": "name", "type": "string", "categories": ["aspirin", "placebo"]},
                {"name": "when", "type": "date", "format": "%d/%m/%Y"},
            ],
            "missingValues": ["", "n.b."],
            "pegai": {"unit": "who", "max_rows_per_unit": 3},
        }
    )
    frame = pl.DataFrame(
        {
            "k": ["a", "b", "n.b."],
            "who": ["x", "x", "y"],
            "name": ["aspirin", "placebo", "aspirin"],
            "when": ["01/02/2020", "02/03/2020", None],
        }
    )
    detections = found(frame, schema)
    assert set(detections) == {"k", "who", "when"}
    assert (detections["k"].identifier_class, detections["k"].rows) == ("unique-code", 2)
    assert detections["who"].identifier_class == "medical-record"


def test_ages():
    assert found(pl.DataFrame({"age": ["89", "90", "41"]}))["age"].rows == 1
    assert found(pl.DataFrame({"age": ["89", "12", None]})) == {}
    assert found(pl.DataFrame({"age": ["9000", "8000"]})) == {}, "days, not years"
    assert found(pl.DataFrame({"age_group": ["90-95", "80-85"]})) == {}


def test_free_text():
    notes = [f"Patient number {i} came in with cough and fever since yesterday." for i in range(30)]
    labels = ["left ventricular hypertrophy by Estes' criteria", "normal"] * 15
    comments = ["no complaint"] * 28 + ["sister says pain", "call son"]
    frame = pl.DataFrame({"a": notes, "b": labels, "comment": comments})
    assert free_text_columns(frame) == ["a", "comment"]
    schema = schema_from_dict(
        {
            "fields": [
                {"name": "a", "type": "string", "categories": sorted(set(notes))},
                {"name": "b", "type": "string"},
                {"name": "comment", "type": "string"},
            ]
        }
    )
    assert free_text_columns(frame, schema) == ["comment"]


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_empty_and_missing(rows):
    frame = pl.DataFrame(
        {
            "phone": pl.Series([None] * rows, dtype=pl.String),
            "chol": pl.Series(["NA"] * rows, dtype=pl.String),
            "z": pl.Series([""] * rows, dtype=pl.String),
            "c": pl.Series(["k"] * rows, dtype=pl.String),
        }
    )
    detections = found(frame)
    assert set(detections) == {"phone"}, "an empty column is still named after a telephone"
    assert (detections["phone"].rows, detections["phone"].matched_share) == (0, 0.0)
    assert free_text_columns(frame) == []
    assert detect(pl.DataFrame()) == []


def test_typed_frames():
    import datetime as dt

    frame = pl.DataFrame(
        {
            "d": [dt.date(2020, 1, i + 1) for i in range(25)],
            "t": [dt.datetime(2020, 1, i + 1, 5) for i in range(25)],
            "n": list(range(25)),
            "f": [i / 7 for i in range(25)],
            "b": [True, None, False] * 8 + [True],
            "l": [[1]] * 25,
        }
    )
    assert set(found(frame)) == {"d", "t", "n"}
